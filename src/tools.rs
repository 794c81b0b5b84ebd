//! `quiver tools`: what is of use beside a running Quiver, one file a command.

mod bucket;
mod generate;
mod load;

pub use self::load::Protocol;
use crate::flags::Tool;
use crate::logging;

/// Runs one command.
///
/// # Errors
/// The command's.
pub fn run(tool: &Tool) -> anyhow::Result<()> {
    match tool {
        Tool::Bucket(tool) => bucket::run(tool),
        Tool::Generate(flags) => {
            logging::start(flags.log);
            generate::run(flags)
        }
        Tool::Load(flags) => {
            logging::start(flags.log);
            load::run(flags)
        }
    }
}

//! `quiver tools`: what is of use beside a running Quiver, one file a command.

mod bucket;
mod export;
mod generate;
mod load;

use std::collections::BTreeMap;

pub use self::load::Protocol;
use crate::flags::Tool;
use crate::logging;

/// Runs one command.
///
/// # Errors
/// The command's.
pub fn run(tool: &Tool, flag_values: BTreeMap<String, String>) -> anyhow::Result<()> {
    match tool {
        Tool::Bucket(tool) => bucket::run(tool, flag_values),
        Tool::Generate(flags) => {
            logging::start(flags.log);
            generate::run(flags)
        }
        Tool::Export(flags) => {
            logging::start(flags.log);
            export::run(flags)
        }
        Tool::Load(flags) => {
            logging::start(flags.log);
            load::run(flags)
        }
    }
}

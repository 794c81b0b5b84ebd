//! The binary: one file a role with its flags, its checked settings and its wiring, nothing else.

mod all;
mod compact;
mod compaction;
mod connections;
mod data_dir;
mod flags;
mod grpc;
mod ingest;
mod limits;
mod logging;
mod memory;
mod own_metrics;
mod port_tls;
mod query;
mod receive;
mod server;
mod settings;
mod signals;
mod tenancy;
mod tools;
mod version;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use flags::{Cli, Role};

fn main() -> ExitCode {
    memory::return_large_buffers();
    let (cli, flag_values) = match flags::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        // usage errors end with 2, --help and --version with 0
        Err(error) => error.exit(),
    };
    match run(cli, flag_values) {
        Ok(()) => ExitCode::SUCCESS,
        // as in `quiver tools bucket ls | head`: whoever read has enough
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // one line, its causes behind it; standard error may be closed, and then nobody reads it
            let _ = writeln!(std::io::stderr(), "quiver: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(cli: Cli, flag_values: std::collections::BTreeMap<String, String>) -> anyhow::Result<()> {
    if cli.version {
        return Ok(std::io::stdout().write_all(version::version_text().as_bytes())?);
    }
    let Some(role) = cli.role else { anyhow::bail!("which role? See quiver --help") };
    match role {
        Role::All(flags) => {
            logging::start(flags.log);
            all::run(&flags, flag_values)
        }
        Role::Receive(flags) => {
            logging::start(flags.log);
            receive::run(&flags, flag_values)
        }
        Role::Query(flags) => {
            logging::start(flags.log);
            query::run(&flags, flag_values)
        }
        Role::Compact(flags) => {
            logging::start(flags.log);
            compact::run(&flags, flag_values)
        }
        Role::Tools(tool) => tools::run(&tool, flag_values),
        Role::FlagsDocument => Ok(std::io::stdout().write_all(flags::document::flags_document().as_bytes())?),
    }
}

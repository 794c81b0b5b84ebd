//! docs/flags.md, made of the definitions that the command line is read with.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::Cli;

/// The whole page.
#[must_use]
pub fn flags_document() -> String {
    let mut page = String::from(
        "# Flags\n\n\
         Made by `quiver flags-document`; a test compares the two. Flags are written `--flag=value`, switches `--flag` and\n\
         `--no-flag`. Durations are written as in Prometheus (`30d`) or Go (`1h30m`).\n",
    );
    let command = Cli::command();
    for role in command.get_subcommands().filter(|role| !role.is_hide_set()) {
        push_role(&mut page, role.get_name(), role);
    }
    page
}

fn push_role(page: &mut String, name: &str, role: &Command) {
    if role.has_subcommands() {
        for command in role.get_subcommands().filter(|command| !command.is_hide_set()) {
            push_role(page, &format!("{name} {}", command.get_name()), command);
        }
        return;
    }
    let about = role.get_about().map(ToString::to_string).unwrap_or_default();
    // writing to a string cannot fail
    let _ = write!(page, "\n## quiver {name}\n\n{about}.\n\n| flag | default | meaning |\n|---|---|---|\n");
    for arg in role.get_arguments().filter(|arg| !arg.is_hide_set()) {
        if let Some(long) = arg.get_long().filter(|long| !matches!(*long, "help" | "version")) {
            let _ = writeln!(page, "| `--{long}{}` | {} | {} |", placeholder(arg), default(arg), meaning(arg));
        }
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn placeholder(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.first().filter(|_| takes_value(arg)).map(|name| format!("={name}")).unwrap_or_default()
}

fn default(arg: &Arg) -> String {
    let values: Vec<String> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    values.join(", ")
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let allowed: Vec<String> = if takes_value(arg) {
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect()
    } else {
        Vec::new()
    };
    if allowed.is_empty() { help } else { format!("{help}. One of {}", allowed.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/flags.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == flags_document(), "run: cargo run -- flags-document > docs/flags.md");
    }
}

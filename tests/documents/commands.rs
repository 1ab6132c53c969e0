//! The page of commands is what clap knows of them.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

#[test]
fn the_book_shows_every_command() {
    let mut program = lychgate::cli::definition();
    program.build();
    let mut text = String::new();
    describe(&program, "lychgate", &mut text);
    text.push_str(
        "## Flags of every command\n\nEach wins over the setting of its name in the environment and the file.\n\n",
    );
    rows(program.get_arguments().filter(|argument| argument.is_global_set()), &mut text);
    super::generated("docs/reference/commands.md", "commands", &text);
}

/// A heading for each command that can be run by itself.
fn describe(command: &Command, name: &str, text: &mut String) {
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("{name} {}", command.get_name());
        if !command.is_subcommand_required_set() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            write!(text, "## `{name}`\n\n{}.\n\n", escaped(&about)).unwrap();
            let mut own = command.get_arguments().filter(|argument| is_own(argument)).peekable();
            if own.peek().is_some() {
                rows(own, text);
            }
            if let Some(more) = command.get_after_help() {
                write!(text, "```text\n{more}\n```\n\n").unwrap();
            }
        }
        describe(command, &name, text);
    }
}

fn is_own(argument: &Arg) -> bool {
    !argument.is_global_set()
        && !matches!(argument.get_action(), ArgAction::Help | ArgAction::HelpLong | ArgAction::Version)
}

fn rows<'a>(arguments: impl Iterator<Item = &'a Arg>, text: &mut String) {
    text.push_str("| argument | what it is |\n| --- | --- |\n");
    for argument in arguments {
        let values = argument.get_value_names().unwrap_or_default().iter().map(clap::builder::Str::as_str);
        let values =
            if argument.get_action().takes_values() { values.collect::<Vec<_>>().join(" ") } else { String::new() };
        let name = match argument.get_long() {
            Some(long) if values.is_empty() => format!("--{long}"),
            Some(long) => format!("--{long} {values}"),
            None if argument.is_required_set() => values,
            None => format!("[{values}]"),
        };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        writeln!(text, "| `{name}` | {}. |", escaped(&help)).unwrap();
    }
    text.push('\n');
}

/// What would be markup in Markdown.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('[', "\\[")
}

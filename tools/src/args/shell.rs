//! Arguments of the commands that describe this one.

use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle schema                       names of all schemas
  brindle schema info                  that of `brindle info --json`

Every document that --json writes names its schema in \"schema\". The number in the name goes
up when a member goes or changes its meaning, and not for members that are new. Lines of
`ls --json` and `export` are data, and name none: theirs are ls-line and export-line.")]
pub(crate) struct SchemaArgs {
    /// Name of a schema, such as info, or brindle-info/1
    pub(crate) name: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle completions bash > /etc/bash_completion.d/brindle
  brindle completions zsh > ~/.zfunc/_brindle
  brindle completions fish > ~/.config/fish/completions/brindle.fish")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle man /usr/local/share/man/man1
  brindle man pages && man -l pages/brindle-verify.1")]
pub(crate) struct ManArgs {
    /// Directory of the pages, created if it is not there
    pub(crate) dir: PathBuf,
}

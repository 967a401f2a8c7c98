// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc cache path|stat|clear`: the kernel cache.

use crate::context::Context;
use crate::failure::Failure;

/// The kernel cache.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) action: CacheAction,
}

/// What to do with the cache.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub(crate) enum CacheAction {
    /// Print its folder.
    Path,
    /// Print its size and number of entries.
    Stat,
    /// Empty it.
    Clear,
}

/// Does what the verb says.
pub(crate) fn run(args: &CacheArgs, _context: &Context) -> Result<(), Failure> {
    let action = match args.action {
        CacheAction::Path => "path",
        CacheAction::Stat => "stat",
        CacheAction::Clear => "clear",
    };
    Err(Failure::NotBuiltYet(format!("attnc cache {action}")))
}

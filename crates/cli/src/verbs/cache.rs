// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc cache path|stat|clear`: the kernel cache.

use std::path::PathBuf;

use attnc::{Cache, CacheStat, memory};

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

/// Where kernels are kept: `$ATTNC_CACHE_DIR`, else `$XDG_CACHE_HOME/attnc`, else `~/.cache/attnc`; none where none of them is set.
pub(crate) fn place() -> Option<Cache> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    // A relative XDG_CACHE_HOME is to be ignored, says its specification.
    let xdg = || {
        let base = set("XDG_CACHE_HOME").map(PathBuf::from);
        base.filter(|path| path.is_absolute())
    };
    let home = || set("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let own = set("ATTNC_CACHE_DIR").map(PathBuf::from);
    let folder = own.or_else(|| xdg().or_else(home).map(|base| base.join("attnc")));
    folder.map(Cache::at)
}

/// Does what the verb says.
pub(crate) fn run(args: &CacheArgs, context: &Context) -> Result<(), Failure> {
    let cache = place().ok_or(Failure::NoCache)?;
    let folder = cache.folder().display().to_string();
    let size = |stat: CacheStat| {
        let (n, bytes) = (stat.entries, memory::readable(u128::from(stat.bytes)));
        let what = if n == 1 { "kernel" } else { "kernels" };
        format!("{n} {what}, {bytes}")
    };
    context.print(&match args.action {
        CacheAction::Path => format!("{folder}\n"),
        CacheAction::Stat => {
            let limit = memory::readable(u128::from(cache.max_bytes()));
            format!("{folder}: {} of at most {limit}\n", size(cache.stat()?))
        }
        CacheAction::Clear => format!("{folder}: {} removed\n", size(cache.clear()?)),
    })
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A progress bar for long work, where standard error is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::context::Context;

/// Steps of a bar of a share.
const WHOLE: u64 = 1000;

/// Advances from any thread; gone when it is dropped.
pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    /// A bar of `rows` rows; silent under `-q` and where nobody looks.
    pub(crate) fn new(context: &Context, what: impl Into<String>, rows: u64) -> Bar {
        if context.options.quiet || !std::io::stderr().is_terminal() {
            return Bar(None);
        }
        let bar = ProgressBar::with_draw_target(Some(rows), ProgressDrawTarget::stderr_with_hz(8));
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} {wide_bar} {human_pos}/{human_len} rows {elapsed} (eta {eta})",
        ) {
            bar.set_style(style);
        }
        bar.set_message(what.into());
        Bar(Some(bar))
    }

    /// A bar of a share of something, 0 to 1.
    pub(crate) fn share(context: &Context, what: impl Into<String>) -> Bar {
        let bar = Bar::new(context, what, WHOLE);
        if let Some(bar) = &bar.0
            && let Ok(style) =
                ProgressStyle::with_template("{prefix} {wide_bar} {msg} {elapsed} (eta {eta})")
        {
            bar.set_prefix(bar.message());
            bar.set_message("");
            bar.set_style(style);
        }
        bar
    }

    /// So much of the whole is done, and what there is to say.
    pub(crate) fn set(&self, share: f64, what: String) {
        if let Some(bar) = &self.0 {
            bar.set_position((share * WHOLE as f64) as u64);
            bar.set_message(what);
        }
    }

    /// So many rows are done.
    pub(crate) fn advance(&self, rows: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(rows);
        }
    }

    /// Takes it away before anything else is printed.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

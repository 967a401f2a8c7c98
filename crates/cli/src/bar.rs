// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A progress bar for long work, where standard error is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::context::Context;

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

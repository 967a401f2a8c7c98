// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The report of a run as a table for people.
//!
//! In: the report that `--json` prints, and the verification with its worst row. Out: text.

use attnc::{RunReport, Verified, memory};
use comfy_table::{Table, presets};

/// The table, one line a fact.
pub(crate) fn render(report: &RunReport, verified: Option<&Verified>) -> String {
    let mut table = Table::new();
    table.force_no_tty().load_style(presets::NOTHING);
    for (key, value) in lines(report, verified) {
        table.add_row([key.to_owned(), value]);
    }
    table
        .lines()
        .map(|line| line.trim().to_owned() + "\n")
        .collect()
}

fn lines(r: &RunReport, verified: Option<&Verified>) -> Vec<(&'static str, String)> {
    let heads = if r.kv_heads == r.heads {
        r.heads.to_string()
    } else {
        format!("{} ({} key/value heads)", r.heads, r.kv_heads)
    };
    let mut lines = vec![
        ("operator", r.operator.clone()),
        ("backend", r.backend.clone()),
        ("target", r.target.clone()),
        ("kernel", r.kernel.clone()),
        ("dtype", r.dtype.clone()),
        ("batch", r.batch.to_string()),
        ("seq_len", r.seq_len.to_string()),
        ("heads", heads),
        ("head_dim", r.head_dim.to_string()),
        ("causal", r.causal.to_string()),
        ("threads", r.threads.to_string()),
        ("compile", milliseconds(r.compile_ms)),
        ("run", times(r)),
    ];
    if let Some(rate) = r.gflops.filter(|g| g.is_finite()) {
        lines.push(("GFLOP/s", format!("{rate:.3} (by formula)")));
    }
    if let Some(madds) = r.madds_formula {
        lines.push(("madds by formula", madds.to_string()));
    }
    lines.push(("madds executed", r.madds_executed.to_string()));
    let extra = memory::readable(u128::from(r.peak_extra_bytes));
    lines.push(("extra memory", extra));
    lines.push(("cache", r.cache.clone()));
    if let Some(v) = verified {
        let word = if v.verdict.passed { "yes" } else { "NO" };
        let rows = if v.all {
            format!("all {} rows", v.rows_checked)
        } else {
            format!("{} rows", v.rows_checked)
        };
        lines.push(("verified", format!("{word}, {rows}")));
        let of = |error: f64, bound: f64| format!("{error:.2e} (bound {bound:.2e})");
        lines.push(("error", of(v.verdict.error, v.verdict.bounds.out)));
        lines.push(("lse error", of(v.verdict.lse_error, v.verdict.bounds.lse)));
        if v.worst.is_some() {
            lines.push(("worst row", place(v)));
        }
    }
    lines
}

/// A time for people.
pub(crate) fn milliseconds(ms: f64) -> String {
    if ms < 1.0 {
        format!("{:.1} us", ms * 1e3)
    } else if ms < 1e4 {
        format!("{ms:.2} ms")
    } else {
        format!("{:.2} s", ms / 1e3)
    }
}

fn times(r: &RunReport) -> String {
    let median = milliseconds(r.run_ms);
    if r.run_ms_all.len() < 2 {
        return median;
    }
    let least = r.run_ms_all.iter().copied().fold(f64::INFINITY, f64::min);
    let most = r.run_ms_all.iter().copied().fold(0.0, f64::max);
    format!(
        "{median} (median of {}, {} to {})",
        r.run_ms_all.len(),
        milliseconds(least),
        milliseconds(most)
    )
}

/// The worst row, in words.
pub(crate) fn worst_row(v: &Verified) -> String {
    format!("worst row: {}", place(v))
}

fn place(v: &Verified) -> String {
    let Some(w) = v.worst else {
        return "none".to_owned();
    };
    let size = if w.ratio.is_finite() {
        format!(", {:.2e} of its bound", w.ratio)
    } else {
        String::new()
    };
    format!(
        "batch {}, head {}, position {} ({}{size})",
        w.row.batch,
        w.row.head,
        w.row.position,
        w.flaw.name()
    )
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One call of a compiled operator: the caller's tensors, threads and ear.
//!
//! In: borrowed, strided memory. Out: a [`Call`] that any engine takes.

use std::fmt;
use std::ops::ControlFlow;

use attnc_oracle::OracleError;
use attnc_runtime::{Pool, Workers};
use attnc_tensor::{View, ViewMut};

use crate::engine::EngineError;
use crate::signature::Signature;

/// Hears how many rows (one for each batch entry, head and position) are done, and how many there are. Called from any thread, some
/// dozens of times a second; [`ControlFlow::Break`] stops the call, which then fails with [`EngineError::Cancelled`] once every worker
/// has finished what it has in hand.
pub type Watch<'a> = &'a (dyn Fn(u64, u64) -> ControlFlow<()> + Sync);

/// One call of an operator. Every element of `out` and `lse` is written; nothing outside of them is, and no gap between the rows of
/// an input is read.
pub struct Call<'a> {
    /// `[B, N, H, D]` in the operator's dtype.
    pub q: View<'a>,
    /// `[B, N, H_kv, D]` in the operator's dtype.
    pub k: View<'a>,
    /// `[B, N, H_kv, D]` in the operator's dtype.
    pub v: View<'a>,
    /// `[B, N, H, D]` in the operator's dtype.
    pub out: ViewMut<'a>,
    /// `[B, H, N]`, f32: the natural logarithm of the sum of the exponentials of each row's scaled scores, -inf for rows that no
    /// branch covers. None: not wanted.
    pub lse: Option<ViewMut<'a>>,
    /// Who does the work.
    pub workers: Workers<'a>,
    /// Who hears of it.
    pub watch: Option<Watch<'a>>,
}

impl<'a> Call<'a> {
    /// A call without lse, on as many threads of ours as the machine has cores.
    pub fn new(q: View<'a>, k: View<'a>, v: View<'a>, out: ViewMut<'a>) -> Call<'a> {
        let all = std::thread::available_parallelism().map_or(1, |n| n.get());
        Call {
            q,
            k,
            v,
            out,
            lse: None,
            workers: Workers::Threads(all),
            watch: None,
        }
    }

    /// Asks for the log-sum-exp of each row: `[B, H, N]`, f32.
    #[must_use]
    pub fn lse(mut self, lse: ViewMut<'a>) -> Call<'a> {
        self.lse = Some(lse);
        self
    }

    /// Runs on so many threads of ours, the calling one among them. The number changes no bit of the result.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Call<'a> {
        self.workers = Workers::Threads(threads);
        self
    }

    /// Runs on the caller's threads, such as a `rayon::ThreadPool`.
    #[must_use]
    pub fn pool(mut self, pool: &'a dyn Pool) -> Call<'a> {
        self.workers = Workers::Pool(pool);
        self
    }

    /// Tells `watch` of the progress, and stops when it says so.
    #[must_use]
    pub fn watch(mut self, watch: Watch<'a>) -> Call<'a> {
        self.watch = Some(watch);
        self
    }

    /// Rows in all: one for each batch entry, head and position.
    pub fn rows(&self) -> u64 {
        let leading = self.out.shape().iter().take(3);
        leading.fold(1u64, |all, n| all.saturating_mul(*n as u64))
    }

    /// Tells the watcher; false: stop.
    pub(crate) fn tell(&self, done: u64) -> bool {
        self.watch
            .is_none_or(|watch| watch(done, self.rows()).is_continue())
    }

    /// Checks shapes against the signature; engines other than machine code lean on it.
    ///
    /// # Errors
    /// [`EngineError::Oracle`] with the first tensor that does not fit.
    pub(crate) fn check(&self, s: &Signature) -> Result<(), EngineError> {
        let (batch, seq_len) = match *self.q.shape() {
            [b, n, _, _] => (b, n),
            _ => (0, 0),
        };
        let query = s.query_shape(batch, seq_len).to_vec();
        let keys = s.key_shape(batch, seq_len).to_vec();
        let lse = s.lse_shape(batch, seq_len).to_vec();
        let mut all = vec![
            ("q", self.q.shape(), query.clone()),
            ("k", self.k.shape(), keys.clone()),
            ("v", self.v.shape(), keys),
            ("out", self.out.shape(), query),
        ];
        all.extend(self.lse.as_ref().map(|t| ("lse", t.shape(), lse)));
        for (tensor, found, want) in all {
            if found != want {
                return Err(EngineError::Oracle(OracleError::WrongShape {
                    tensor,
                    want,
                    found: found.to_vec(),
                }));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("q", &self.q.shape())
            .field("k", &self.k.shape())
            .field("v", &self.v.shape())
            .field("lse", &self.lse.is_some())
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// The two orders in which hosts keep `[B, N, H, D]` tensors. Others are strides too: see [`View::strided`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Tokens before heads, as written: batch, token, head, element.
    TokensFirst,
    /// Heads before tokens: batch, head, token, element.
    HeadsFirst,
}

impl Order {
    /// Strides, in elements, of a tensor `[B, N, H, D]` that lies in this order without gaps.
    ///
    /// ```
    /// use attnc::Order;
    /// assert_eq!(Order::TokensFirst.strides([2, 100, 8, 64]), [51200, 512, 64, 1]);
    /// assert_eq!(Order::HeadsFirst.strides([2, 100, 8, 64]), [51200, 64, 6400, 1]);
    /// ```
    pub fn strides(self, [_, n, h, d]: [usize; 4]) -> [isize; 4] {
        // Sizes that overflow here are refused by every view, for no memory holds them.
        let step = |a: usize, b: usize| isize::try_from(a.saturating_mul(b)).unwrap_or(isize::MAX);
        let batch = step(n.saturating_mul(h), d);
        match self {
            Order::TokensFirst => [batch, step(h, d), step(d, 1), 1],
            Order::HeadsFirst => [batch, step(d, 1), step(n, d), 1],
        }
    }
}

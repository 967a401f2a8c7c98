// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The mutator of the stable test: inputs that are almost right.
//!
//! In: seeds, words and a number. Out: the same bytes for the same number, on every machine.

use rand::prelude::*;
use rand_chacha::ChaCha8Rng;

/// Longest input made.
const MAX_BYTES: usize = 4096;

/// Makes inputs out of seeds.
#[derive(Debug)]
pub struct Mutator {
    rng: ChaCha8Rng,
    seeds: Vec<Vec<u8>>,
    words: &'static [&'static str],
}

impl Mutator {
    /// A mutator of those seeds that are short enough; inputs follow from `seed` alone.
    pub fn new(mut seeds: Vec<Vec<u8>>, words: &'static [&'static str], seed: u64) -> Mutator {
        seeds.retain(|s| s.len() <= MAX_BYTES);
        Mutator {
            rng: ChaCha8Rng::seed_from_u64(seed),
            seeds,
            words,
        }
    }

    /// The next input: a seed with one to eight changes, mostly few, now and then noise.
    pub fn next_input(&mut self) -> Vec<u8> {
        if self.rng.random_ratio(1, 16) || self.seeds.is_empty() {
            let length = self.rng.random_range(0..96);
            return (0..length).map(|_| self.rng.random()).collect();
        }
        let mut data = self.seed();
        let most = *[1, 1, 2, 8].choose(&mut self.rng).unwrap_or(&1);
        for _ in 0..self.rng.random_range(1..=most) {
            self.change(&mut data);
            data.truncate(MAX_BYTES);
        }
        data
    }

    fn seed(&mut self) -> Vec<u8> {
        self.seeds
            .choose(&mut self.rng)
            .cloned()
            .unwrap_or_default()
    }

    /// Some place in `data`, its end included; half of the time where a word begins or ends.
    fn place(&mut self, data: &[u8]) -> usize {
        let at = self.rng.random_range(0..=data.len());
        if self.rng.random() {
            return at;
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let border = |i: &usize| *i == 0 || plain(data[i - 1]) != plain(data[*i]);
        (at..data.len()).find(border).unwrap_or(data.len())
    }

    /// A piece of `data`.
    fn piece(&mut self, data: &[u8]) -> std::ops::Range<usize> {
        let a = self.place(data);
        let b = match self.rng.random_range(0..3u32) {
            0 => self.place(data),
            _ => (a + self.rng.random_range(1..24)).min(data.len()),
        };
        a.min(b)..a.max(b)
    }

    /// A line of `data` with its end.
    fn line(&mut self, data: &[u8]) -> std::ops::Range<usize> {
        let at = self.rng.random_range(0..=data.len());
        let newline = |b: &u8| *b == b'\n';
        let start = data[..at].iter().rposition(newline).map_or(0, |i| i + 1);
        let end = data[at..].iter().position(newline);
        start..end.map_or(data.len(), |i| at + i + 1)
    }

    fn change(&mut self, data: &mut Vec<u8>) {
        match self.rng.random_range(0..16u32) {
            0 if !data.is_empty() => {
                let at = self.rng.random_range(0..data.len());
                data[at] ^= 1 << self.rng.random_range(0..8u32);
            }
            1 => {
                let piece = self.piece(data);
                data.drain(piece);
            }
            2 => {
                let piece = self.piece(data);
                let copy = data[piece.clone()].to_vec();
                let times = self.rng.random_range(1..4);
                let copies = copy.repeat(times);
                data.splice(piece.end..piece.end, copies);
            }
            3 => {
                let other = self.seed();
                let piece = self.piece(&other);
                let at = self.place(data);
                data.splice(at..at, other[piece].iter().copied());
            }
            4..=6 => self.change_number(data),
            7 | 8 => {
                let line = self.line(data);
                let taken: Vec<u8> = data.drain(line).collect();
                let (at, copies) = (self.line(data).start, self.rng.random_range(0..3));
                data.splice(at..at, taken.repeat(copies));
            }
            9 | 10 => {
                // A word of the same input in the place of another.
                let (from, to) = (self.word(data), self.word(data));
                let word = data[from].to_vec();
                data.splice(to, word);
            }
            _ => {
                let Some(word) = self.words.choose(&mut self.rng) else {
                    let at = self.place(data);
                    let byte = self.rng.random();
                    return data.insert(at, byte);
                };
                let word = word.as_bytes();
                let piece = self.piece(data);
                let piece = if self.rng.random() {
                    piece.start..piece.start
                } else {
                    piece
                };
                data.splice(piece, word.iter().copied());
            }
        }
    }

    /// Where a word of `data` stands.
    fn word(&mut self, data: &[u8]) -> std::ops::Range<usize> {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let at = self.rng.random_range(0..=data.len());
        let start = data[at..]
            .iter()
            .position(plain)
            .map_or(data.len(), |i| at + i);
        let length = data[start..].iter().take_while(|b| plain(b)).count();
        start..start + length
    }

    /// Another number in the place of one.
    fn change_number(&mut self, data: &mut Vec<u8>) {
        let from = self.place(data);
        let Some(start) = (from..data.len()).find(|i| data[*i].is_ascii_digit()) else {
            return;
        };
        let length = data[start..].iter().take_while(|b| b.is_ascii_digit());
        let end = start + length.count();
        let number = match self.rng.random_range(0..4u32) {
            0 => self.rng.random_range(0..10u64),
            1 => 1 << self.rng.random_range(0..64u32),
            2 => (1 << self.rng.random_range(0..64u32)) - 1,
            _ => self.rng.random_range(0..2000),
        };
        data.splice(start..end, number.to_string().into_bytes());
    }
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The words of the text form, each pair of directions side by side: what the printer writes and the parser reads.

use crate::core::{Axis, Bin, CountFn, Elem, Layout, Port, Space};

/// Words that no buffer, table, function, tile or scalar is called.
pub(crate) const RESERVED: [&str; 55] = [
    "tile",
    "target",
    "heads",
    "alloc",
    "table",
    "plan_table",
    "fn",
    "temp",
    "plan",
    "enter",
    "body",
    "tasks",
    "for",
    "in",
    "by",
    "walk",
    "next",
    "if",
    "else",
    "gather",
    "scatter",
    "fill",
    "floats",
    "at",
    "live",
    "flag",
    "cols",
    "rows",
    "when",
    "not",
    "mask",
    "causal",
    "only",
    "inf",
    "NaN",
    "N",
    "B",
    "task",
    "min",
    "max",
    "dot_keys",
    "dot_values",
    "reduce_max",
    "reduce_sum",
    "visible",
    "dim",
    "async",
    "inspect",
    "queued",
    "commit",
    "wait",
    "release",
    "barrier",
    "padded",
    "transposed",
];

/// Whether a name can be read back.
pub(crate) fn is_name(s: &str) -> bool {
    is_word(s) && !RESERVED.contains(&s)
}

/// Letters, digits and underscores, no digit first.
pub(crate) fn is_word(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Makes a word table: a function from each value to its word, and one back.
macro_rules! words {
    ($(#[$doc:meta])* $to:ident $from:ident $ty:ty { $($value:pat => $word:literal $make:expr),* $(,)? }) => {
        $(#[$doc])*
        pub(crate) fn $to(x: $ty) -> &'static str {
            match x { $($value => $word),* }
        }
        /// The way back; `None` for another word.
        pub(crate) fn $from(word: &str) -> Option<$ty> {
            match word { $($word => Some($make),)* _ => None }
        }
    };
}

words! {
    /// Element types.
    elem elem_of Elem {
        Elem::I64 => "i64" Elem::I64,
        Elem::F32 => "f32" Elem::F32,
        Elem::Data => "data" Elem::Data,
    }
}
words! {
    /// Memory spaces.
    space space_of Space {
        Space::Work => "work" Space::Work,
        Space::Shared => "shared" Space::Shared,
        Space::Frag => "frag" Space::Frag,
    }
}
/// Layouts, with the number that a packed one takes.
pub(crate) fn layout(x: Layout) -> (&'static str, Option<u32>) {
    match x {
        Layout::Row => ("row", None),
        Layout::St => ("st", None),
        Layout::Swz128 => ("swz128", None),
        Layout::Padded { pitch } => ("padded", Some(pitch)),
        Layout::Transposed { stride } => ("transposed", Some(stride)),
    }
}
/// The way back for those that take no number.
pub(crate) fn layout_of(word: &str) -> Option<Layout> {
    match word {
        "row" => Some(Layout::Row),
        "st" => Some(Layout::St),
        "swz128" => Some(Layout::Swz128),
        _ => None,
    }
}
/// The way back for those that do.
pub(crate) fn packed_of(word: &str) -> Option<fn(u32) -> Layout> {
    match word {
        "padded" => Some(|pitch| Layout::Padded { pitch }),
        "transposed" => Some(|stride| Layout::Transposed { stride }),
        _ => None,
    }
}
/// A layout as text.
pub(crate) fn layout_text(x: Layout) -> String {
    match layout(x) {
        (word, None) => word.to_string(),
        (word, Some(number)) => format!("{word} {number}"),
    }
}
words! {
    /// Tensors.
    port port_of Port {
        Port::Q => "q" Port::Q,
        Port::K => "k" Port::K,
        Port::V => "v" Port::V,
        Port::Out => "out" Port::Out,
        Port::Lse => "lse" Port::Lse,
    }
}
words! {
    /// Functions from counts to floats.
    count_fn count_fn_of CountFn {
        CountFn::Float => "float" CountFn::Float,
        CountFn::Log2 => "log2" CountFn::Log2,
        CountFn::Ln => "ln" CountFn::Ln,
    }
}
words! {
    /// Integer operations: those that stand between their operands, and `min` and `max`, which are called.
    bin bin_of Bin {
        Bin::Add => "+" Bin::Add,
        Bin::Sub => "-" Bin::Sub,
        Bin::Mul => "*" Bin::Mul,
        Bin::Div => "/" Bin::Div,
        Bin::Rem => "%" Bin::Rem,
        Bin::Min => "min" Bin::Min,
        Bin::Max => "max" Bin::Max,
        Bin::And => "&" Bin::And,
        Bin::Or => "|" Bin::Or,
        Bin::Shl => "<<" Bin::Shl,
        Bin::Shr => ">>" Bin::Shr,
        Bin::Eq => "==" Bin::Eq,
        Bin::Lt => "<" Bin::Lt,
        Bin::Le => "<=" Bin::Le,
    }
}

/// How tightly an operation binds, as in Rust; [`CALLED`] for what is written as a call.
pub(crate) fn strength(op: Bin) -> u8 {
    match op {
        Bin::Min | Bin::Max => CALLED,
        Bin::Mul | Bin::Div | Bin::Rem => 6,
        Bin::Add | Bin::Sub => 5,
        Bin::Shl | Bin::Shr => 4,
        Bin::And => 3,
        Bin::Or => 2,
        Bin::Eq | Bin::Lt | Bin::Le => 1,
    }
}

/// The strength of names, literals, accesses and calls.
pub(crate) const CALLED: u8 = 9;

/// An axis in the type of a tile.
pub(crate) fn axis(a: Axis) -> String {
    match a {
        Axis::One => "1".to_string(),
        Axis::Query => "q".to_string(),
        Axis::Key { order: 0 } => "k".to_string(),
        Axis::Key { order } => format!("k:{order}"),
        Axis::Dim => "d".to_string(),
    }
}

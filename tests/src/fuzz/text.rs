// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `.attn` language: lexer, parser and resolution, formatter, what editors ask.
//!
//! In: bytes as they might stand in a file. Promises: nothing panics, every span lies in its file between characters, every mistake can be
//! drawn, what an operator prints means the operator, formatting is idempotent and changes no tree.

use attnc_diag::{FileId, SourceFile, Span, render_json, render_text};
use attnc_spec::{Definition, Loaded, NoFiles, Operator, Resolution};

/// Words of the language, and what is hard about numbers and text.
pub(super) const WORDS: &[&str] = &[
    "edition 1",
    "use ",
    "let x = ",
    "attention a ",
    "branch { segment = 8 }",
    "for i in 0..4 { ",
    " in ",
    " with { }",
    "heads = 2",
    "kv_heads = 1",
    "head_dim = 4",
    "dtype = f16",
    "causal = true",
    "scale = 0.5",
    "semantics = torchscale",
    "offsets = blocked",
    "segment = whole",
    "dilation = 2",
    "\"std/longnet.attn\"",
    "geom(1, 1024, 5)",
    "sqrt(2)",
    "[1, 2]",
    "[0]",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    "..",
    "..=",
    "^",
    "-",
    "+ 1",
    "* 2",
    "/ 3",
    "% 4",
    "//",
    "/*",
    "*/",
    "\"",
    "\\",
    "\n",
    "\r\n",
    "\r",
    "\u{feff}",
    "é",
    "𝔸",
    "\0",
    "9223372036854775807",
    "9223372036854775808",
    "32k",
    "1e308",
    "1.5",
    "2^40",
    "65536",
    "min(",
    "ceil_div(",
    "round(",
    "len(",
];

fn resolved(text: &str) -> Resolution {
    attnc_spec::resolve(vec![Ok(Loaded::text("a.attn", text))], &mut NoFiles)
}

/// The lexer.
pub(super) fn tokens(data: &[u8]) -> bool {
    let source = SourceFile::new("a.attn", data.to_vec());
    let text = source.text();
    let mut end = if text.starts_with('\u{feff}') { 3 } else { 0 };
    for token in attnc_syntax::tokens(text) {
        let between = text.get(end..token.start).expect("tokens ascend");
        assert!(
            between
                .chars()
                .all(|c| matches!(c, ' ' | '\t' | '\r' | '\n')),
            "left out: {between:?}"
        );
        assert!(text.get(token.clone()).is_some_and(|t| !t.is_empty()));
        end = token.end;
    }
    assert!(
        text[end..]
            .chars()
            .all(|c| matches!(c, ' ' | '\t' | '\r' | '\n'))
    );
    end > 0
}

/// Parser and resolution.
pub(super) fn resolve(data: &[u8]) -> bool {
    let loaded = Loaded {
        key: "a.attn".to_owned(),
        name: "a.attn".to_owned(),
        bytes: data.to_vec(),
    };
    let found = attnc_spec::resolve(vec![Ok(loaded)], &mut NoFiles);
    for d in &found.diagnostics {
        for label in d.secondary.iter().chain([&d.primary]) {
            let text = found.sources.text(label.span.file);
            assert!(text.get(label.span.range()).is_some(), "{d:?}");
        }
        assert!(!d.message.is_empty() && !d.primary.text.is_empty(), "{d:?}");
        assert!(d.help.as_ref().is_some_and(|h| !h.is_empty()), "{d:?}");
    }
    // Drawing takes longest by far.
    let some = &found.diagnostics[..found.diagnostics.len().min(2)];
    render_text(some, &found.sources, false);
    some.iter()
        .for_each(|d| assert!(!render_json(d, &found.sources).is_empty()));
    if data.len().is_multiple_of(4) && !found.has_errors() {
        found.operators().take(2).for_each(|op| reads_back(op));
    }
    found.operators().next().is_some()
}

/// What an operator prints as text and as JSON is the operator.
fn reads_back(op: &Operator) {
    assert_eq!(op.validate(), Ok(()), "{op:?}");
    let again = resolved(&op.to_attn());
    assert!(!again.has_errors(), "{:?}", again.diagnostics);
    assert_eq!(&*again.files[0].own[0], op);
    let json = Operator::from_json(&op.to_json().to_string()).expect("reads back");
    assert_eq!(&json, op);
}

/// What editors ask, at places that the first bytes choose.
pub(super) fn editor(data: &[u8]) -> bool {
    let Some((places, text)) = data.split_first_chunk::<4>() else {
        return false;
    };
    let loaded = Loaded {
        key: "a.attn".to_owned(),
        name: "a.attn".to_owned(),
        bytes: text.to_vec(),
    };
    let (found, index) = attnc_spec::inspect(vec![Ok(loaded)], &mut NoFiles);
    let file = found.files[0].file;
    let sources = &found.sources;
    let inside = |span: Span| {
        let text = sources.text(span.file);
        assert!(text.get(span.range()).is_some(), "{span:?}");
    };
    let mut answers = 0;
    for place in places {
        let offset = usize::from(*place) * (text.len() + 1) / 256;
        if let Some(word) = index.explain(sources, file, offset) {
            inside(word.span);
            assert!(!word.markdown.is_empty());
            answers += 1;
        }
        if let Some(Definition::Name(span)) = index.definition(file, offset) {
            inside(span);
            // A declaration is its own first reference.
            let all = index.references(file, offset);
            assert!(all.is_empty() || all[0] == span, "{all:?}");
        }
        index.complete(sources, file, offset);
    }
    answers > 0
}

/// The formatter.
pub(super) fn format(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let read = |text: &str| {
        attnc_syntax::parse(
            FileId::new(0),
            &SourceFile::new("a.attn", text.as_bytes().to_vec()),
        )
    };
    let parsed = read(text);
    let Some(once) = attnc_syntax::format(text) else {
        assert!(!parsed.diagnostics.is_empty(), "{text:?}");
        return false;
    };
    let again = read(&once);
    assert!(again.diagnostics.is_empty(), "{text:?} -> {once:?}");
    let tree = |file| attnc_syntax::dump_text(file, false);
    assert_eq!(
        tree(&parsed.file),
        tree(&again.file),
        "{text:?} -> {once:?}"
    );
    assert_eq!(
        attnc_syntax::format(&once).as_deref(),
        Some(&*once),
        "{text:?}"
    );
    true
}

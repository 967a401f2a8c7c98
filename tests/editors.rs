// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What editors are given beside the language server: the grammar and the extension.
//!
//! In: `editors/vscode/`. Out: words that the grammar lacks or invents, JSON that does not parse, files that are named and missing, words
//! of the corpus that get no colour (where vscode-textmate is installed).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../editors/vscode")
}

fn json(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(name)).expect(name);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The alternatives of the pattern: its longest group without groups in it.
fn words(pattern: &Value) -> BTreeSet<String> {
    let pattern = pattern.as_str().expect("a pattern");
    let groups = pattern
        .split(['(', ')'])
        .map(|g| g.trim_start_matches("?:"));
    let longest = groups.max_by_key(|g| g.len()).unwrap_or("");
    longest.split('|').map(str::to_owned).collect()
}

#[test]
fn the_grammar_knows_the_words_of_the_language_and_no_others() {
    let grammar = json("syntaxes/attn.tmLanguage.json");
    let known = attnc_spec::vocabulary();
    let rules = &grammar["repository"];
    let value = |scope: &str| {
        let all = rules["value"]["patterns"]
            .as_array()
            .expect("a list")
            .iter();
        let mut found = all.filter(|p| p["name"] == scope || p["captures"]["1"]["name"] == scope);
        words(&found.next().expect(scope)["match"])
    };
    let set = |list: &[&str]| {
        list.iter()
            .map(|w| (*w).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(words(&rules["keyword"]["match"]), set(&known.keywords));
    assert_eq!(words(&rules["field"]["match"]), set(&known.fields));
    assert_eq!(value("constant.language.attn"), set(&known.words));
    assert_eq!(value("support.function.attn"), set(&known.functions));
}

#[test]
fn the_extension_is_whole() {
    let package = json("package.json");
    let name = |value: &Value| value.as_str().expect("a name").to_owned();
    let contributes = &package["contributes"];
    let grammar = &contributes["grammars"][0];
    for file in [
        name(&package["main"]),
        name(&contributes["languages"][0]["configuration"]),
        name(&grammar["path"]),
    ] {
        assert!(folder().join(&file).is_file(), "{file}");
    }
    assert_eq!(
        json("syntaxes/attn.tmLanguage.json")["scopeName"],
        grammar["scopeName"]
    );
    assert_eq!(contributes["languages"][0]["id"], grammar["language"]);
    let brackets = &json("language-configuration.json")["brackets"];
    assert_eq!(brackets.as_array().map(Vec::len), Some(3));
    assert_eq!(name(&package["version"]), env!("CARGO_PKG_VERSION"));
    let text = fs::read_to_string(folder().join("extension.js")).expect("a script");
    for setting in contributes["configuration"]["properties"]
        .as_object()
        .expect("settings")
        .keys()
    {
        let last = setting.rsplit('.').next().expect("a word");
        // The client library reads the trace setting itself.
        assert!(text.contains(last) || last == "server", "{setting}");
    }
}

#[test]
fn every_word_of_the_corpus_gets_a_scope() {
    let ready = folder().join("node_modules/vscode-textmate").is_dir();
    if !ready {
        assert!(
            std::env::var_os("ATTNC_REQUIRE_TEXTMATE").is_none(),
            "`npm install` in editors/vscode first"
        );
        println!("skipped: vscode-textmate is not installed in editors/vscode");
        return;
    }
    let mut files = Vec::new();
    for below in ["../dsl/examples", "../dsl/std", "cases"] {
        let all = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(below)).expect(below);
        files.extend(all.map(|f| f.expect("readable").path()));
    }
    files.retain(|f| f.extension().is_some_and(|e| e == "attn"));
    assert!(files.len() > 25);
    let run = Command::new("node")
        .arg("check-grammar.js")
        .args(&files)
        .current_dir(folder())
        .output();
    let run = run.expect("node runs");
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

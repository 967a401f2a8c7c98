// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc lsp` as an editor sees it: the real binary over its standard streams.
//!
//! In: messages. Out: what comes back: diagnostics of open and unsaved files and of what uses them, hovers with resolved values,
//! definitions, completion, symbols, formatting, columns in every unit, garbage survived, exit codes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// An editor with its server.
struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    next: i64,
    /// Diagnostics as last sent, by file name.
    shown: Vec<(String, Value)>,
}

impl Client {
    fn start() -> Client {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
        command.arg("lsp").env_clear().stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the command runs");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Client {
            child,
            input,
            output,
            next: 0,
            shown: Vec::new(),
        }
    }

    /// A client past the handshake, with these units of columns.
    fn ready(encodings: Value) -> (Client, Value) {
        let mut client = Client::start();
        let general = json!({ "positionEncodings": encodings });
        let answer = client.ask(
            "initialize",
            json!({ "capabilities": { "general": general } }),
        );
        client.tell("initialized", json!({}));
        (client, answer["result"]["capabilities"].clone())
    }

    fn raw(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("open");
        input.write_all(bytes).expect("the server reads");
        input.flush().expect("the server reads");
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        self.raw(format!("Content-Length: {}\r\n\r\n{text}", text.len()).as_bytes());
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// The answer to a question; diagnostics that come before it are kept.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let message = self.receive();
            if message["id"] == id {
                return message;
            }
        }
    }

    fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert_ne!(
                self.output.read_line(&mut line).expect("text"),
                0,
                "the server ended"
            );
            match line.trim() {
                "" => break,
                line => {
                    if let Some(n) = line.strip_prefix("Content-Length: ") {
                        length = n.parse().expect("a number");
                    }
                }
            }
        }
        let mut body = vec![0; length];
        self.output.read_exact(&mut body).expect("a body");
        let message: Value = serde_json::from_slice(&body).expect("JSON");
        if message["method"] == "textDocument/publishDiagnostics" {
            let uri = message["params"]["uri"].as_str().expect("a URI");
            let name = uri.rsplit('/').next().expect("a name").to_owned();
            self.shown.retain(|(n, _)| *n != name);
            self.shown
                .push((name, message["params"]["diagnostics"].clone()));
        }
        message
    }

    fn open(&mut self, uri: &str, text: &str) {
        let document = json!({ "uri": uri, "languageId": "attn", "version": 1, "text": text });
        self.tell("textDocument/didOpen", json!({ "textDocument": document }));
    }

    /// The codes that are shown for a file.
    fn codes(&mut self, name: &str) -> Vec<String> {
        // A question makes sure that everything before it was answered.
        self.ask("no/such", json!({}));
        let shown = self.shown.iter().find(|(n, _)| n == name);
        let list = shown.map_or(&[][..], |(_, d)| d.as_array().expect("a list"));
        list.iter()
            .map(|d| d["code"].as_str().expect("a code").to_owned())
            .collect()
    }

    fn diagnostics(&mut self, name: &str) -> Value {
        self.ask("no/such", json!({}));
        let shown = self.shown.iter().find(|(n, _)| n == name);
        shown.map_or(Value::Null, |(_, d)| d.clone())
    }

    fn at(&mut self, method: &str, uri: &str, line: u32, character: u32) -> Value {
        let position = json!({ "line": line, "character": character });
        let params = json!({ "textDocument": { "uri": uri }, "position": position, "context": { "includeDeclaration": true, "triggerKind": 1 } });
        self.ask(method, params)["result"].clone()
    }

    fn hover(&mut self, uri: &str, line: u32, character: u32) -> String {
        let answer = self.at("textDocument/hover", uri, line, character);
        answer["contents"]["value"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    }

    /// Shuts down; the exit code.
    fn end(mut self) -> Option<i32> {
        assert_eq!(self.ask("shutdown", Value::Null)["result"], Value::Null);
        self.tell("exit", Value::Null);
        self.child.wait().expect("it ends").code()
    }
}

fn uri(folder: &Path, name: &str) -> String {
    let folder = fs::canonicalize(folder).expect("a folder");
    format!("file://{}/{name}", folder.display())
}

const TEXT: &str = "let ratios = [1, 2, 4]
attention base {
    heads = 4, head_dim = 8
    scale = 1 / sqrt(head_dim)
    for i in 0..3 {
        branch { segment = 8 * 2^i, dilation = ratios[i] }
    }
}
attention copy = base with { causal = true }
";

#[test]
fn hovers_show_resolved_values() {
    let (mut c, _) = Client::ready(json!(["utf-16"]));
    let uri = "untitled:a.attn";
    c.open(uri, TEXT);
    for (line, column, wanted) in [
        (0, 5, &["let ratios = [1, 2, 4]"][..]),
        (5, 52, &["let ratios = [1, 2, 4]"]),
        (5, 54, &["for i in [0, 1, 2]"]),
        (4, 8, &["for i in [0, 1, 2]"]),
        (
            1,
            12,
            &[
                "heads 4, kv_heads 4, head_dim 8",
                "| 8 | 1 |",
                "| 32 | 4 | h: 0..4 | 1/4 |",
                "Every head is covered",
                "| 32768 |",
            ],
        ),
        (8, 18, &["attention base", "not causal"]),
        (8, 11, &["attention copy", ", causal"]),
        (2, 5, &["heads = 4", "Query heads"]),
        (3, 23, &["head_dim = 8"]),
        (3, 17, &["sqrt(x)"]),
        (3, 6, &["scale = 0.35355339059327373"]),
        (5, 10, &["3 branches", "| 16 | 2 |"]),
        (5, 20, &["segment = 8 | 16 | 32"]),
        (5, 40, &["dilation = 1 | 2 | 4"]),
        (4, 5, &["repeats branches"]),
        (8, 38, &["A value of `causal`"]),
        (8, 24, &["copies the fields"]),
    ] {
        let hover = c.hover(uri, line, column);
        for part in wanted {
            assert!(hover.contains(part), "{line}:{column} {part}\n{hover}");
        }
    }
    assert_eq!(c.hover(uri, 7, 0), "");
    assert_eq!(c.end(), Some(0));
}

#[test]
fn diagnostics_follow_edits_and_say_what_belongs_to_them() {
    let (mut c, _) = Client::ready(json!(null));
    let uri = "untitled:b.attn";
    c.open(uri, TEXT);
    assert_eq!(c.codes("untitled:b.attn"), [""; 0]);
    let change = |text: &str, range: Value| {
        let change = json!({ "text": text, "range": range });
        json!({ "textDocument": { "uri": uri, "version": 2 }, "contentChanges": [change] })
    };
    let range = |l: u32, a: u32, b: u32| json!({ "start": { "line": l, "character": a }, "end": { "line": l, "character": b } });
    c.tell("textDocument/didChange", change("haeds", range(2, 4, 9)));
    assert_eq!(c.codes("untitled:b.attn"), ["E0203"]);
    let d = c.diagnostics("untitled:b.attn")[0].clone();
    assert_eq!(d["range"], range(2, 4, 9));
    assert_eq!((&d["severity"], &d["source"]), (&json!(1), &json!("attnc")));
    assert!(
        d["message"]
            .as_str()
            .expect("text")
            .contains("help: did you mean `heads`?")
    );
    assert!(c.hover(uri, 2, 5).contains("**E0203**"));
    c.tell("textDocument/didChange", change("heads", range(2, 4, 9)));
    assert_eq!(c.codes("untitled:b.attn"), [""; 0]);
    let twice = "let a = 1\nlet a = 2\n";
    let whole = json!({ "textDocument": { "uri": uri, "version": 3 }, "contentChanges": [{ "text": twice }] });
    c.tell("textDocument/didChange", whole);
    let all = c.diagnostics("untitled:b.attn");
    let d = all
        .as_array()
        .expect("a list")
        .iter()
        .find(|d| d["code"] == "E0204");
    let related = &d.expect("given twice")["relatedInformation"][0];
    assert_eq!(related["location"]["range"], range(0, 4, 5));
    assert_eq!(related["message"], "given first here");
    c.tell(
        "textDocument/didClose",
        json!({ "textDocument": { "uri": uri } }),
    );
    assert_eq!(c.codes("untitled:b.attn"), [""; 0]);
    assert_eq!(c.end(), Some(0));
}

#[test]
fn unsaved_files_are_used_and_their_users_checked_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    fs::write(
        folder.join("base.attn"),
        "attention base { heads = 1, head_dim = 1, branch { segment = 8 } }\n",
    )
    .expect("written");
    let user = "use \"base.attn\"\nuse \"new.attn\"\nattention a = base with { heads = 2 }\nattention b = fresh with { heads = 2 }\n";
    let (a, base, new) = (
        uri(folder, "a.attn"),
        uri(folder, "base.attn"),
        uri(folder, "new.attn"),
    );
    let (mut c, _) = Client::ready(json!(["utf-8"]));
    c.open(&a, user);
    assert_eq!(c.codes("a.attn"), ["E0501"]);
    // A file that was never saved.
    let fresh = "attention fresh { heads = 1, head_dim = 1, branch { segment = 8 } }\n";
    c.open(&new, fresh);
    assert_eq!(c.codes("a.attn"), [""; 0]);
    // A file on disk, other in the editor.
    c.open(
        &base,
        "\nattention other { heads = 1, head_dim = 1, branch { segment = 8 } }\n",
    );
    assert_eq!(c.codes("a.attn"), ["E0211"]);
    c.tell(
        "textDocument/didClose",
        json!({ "textDocument": { "uri": base } }),
    );
    assert_eq!(c.codes("a.attn"), [""; 0]);
    // Definitions across files; paths lead to files.
    let found = c.at("textDocument/definition", &a, 2, 15);
    assert_eq!(found["uri"], json!(base));
    assert_eq!(
        found["range"]["start"],
        json!({ "line": 0, "character": 10 })
    );
    let found = c.at("textDocument/definition", &a, 3, 15);
    assert_eq!(found["uri"], json!(new));
    let found = c.at("textDocument/definition", &a, 0, 8);
    assert_eq!(found["uri"], json!(base));
    assert!(c.hover(&a, 0, 8).contains("brings `base`"));
    let found = c.at("textDocument/references", &a, 3, 15);
    assert_eq!(found.as_array().expect("a list").len(), 2);
    // A mistake in a used file on disk shows there.
    fs::write(folder.join("base.attn"), "attention base { heads = , }\n").expect("written");
    c.tell("workspace/didChangeWatchedFiles", json!({ "changes": [] }));
    assert_eq!(c.codes("base.attn"), ["E0111"]);
    assert_eq!(c.end(), Some(0));
}

#[test]
fn names_lead_to_their_declarations() {
    let (mut c, _) = Client::ready(json!(null));
    let uri = "untitled:c.attn";
    c.open(uri, TEXT);
    for (line, column, to) in [
        (5, 52, Some((0, 4))),
        (5, 54, Some((4, 8))),
        (5, 33, Some((4, 8))),
        (8, 18, Some((1, 10))),
        (3, 23, Some((2, 15))),
        (3, 17, None),
        (8, 38, None),
    ] {
        let found = c.at("textDocument/definition", uri, line, column);
        let at = to.map(|(line, character)| json!({ "line": line, "character": character }));
        assert_eq!(
            found["range"]["start"],
            at.unwrap_or(Value::Null),
            "{line}:{column}"
        );
    }
    let found = c.at("textDocument/references", uri, 4, 8);
    assert_eq!(found.as_array().expect("a list").len(), 3);
    assert_eq!(c.end(), Some(0));
}

#[test]
fn completion_and_symbols_follow_the_grammar() {
    let (mut c, _) = Client::ready(json!(null));
    let uri = "untitled:d.attn";
    c.open(uri, TEXT);
    let labels = |c: &mut Client, line, column| -> Vec<String> {
        let found = c.at("textDocument/completion", uri, line, column);
        let list = found.as_array().expect("a list").iter();
        list.map(|i| i["label"].as_str().expect("a label").to_owned())
            .collect()
    };
    let fields = labels(&mut c, 3, 4);
    assert!(
        fields.contains(&"kv_heads".to_owned()) && !fields.contains(&"heads".to_owned()),
        "{fields:?}"
    );
    assert_eq!(labels(&mut c, 8, 38)[..2], ["true", "false"]);
    assert_eq!(labels(&mut c, 8, 18), ["base", "copy"]);
    assert!(labels(&mut c, 5, 47).contains(&"ratios".to_owned()));
    let found = c.ask(
        "textDocument/documentSymbol",
        json!({ "textDocument": { "uri": uri } }),
    );
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|s| s["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let found = &found["result"];
    assert_eq!(names(found), ["ratios", "base", "copy"]);
    assert_eq!(
        names(&found[1]["children"]),
        ["heads", "head_dim", "scale", "for i"]
    );
    assert_eq!(
        found[1]["range"]["end"],
        json!({ "line": 6, "character": 5 })
    );
    assert_eq!(c.end(), Some(0));
}

/// Applies edits as an editor does, last first; ASCII only.
fn apply(text: &str, edits: &Value) -> String {
    let mut text = text.to_owned();
    for edit in edits.as_array().expect("a list").iter().rev() {
        let at = |place: &Value| {
            let line = place["line"].as_u64().expect("a line") as usize;
            let lines: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
            lines + place["character"].as_u64().expect("a column") as usize
        };
        let range = at(&edit["range"]["start"])..at(&edit["range"]["end"]);
        text.replace_range(range, edit["newText"].as_str().expect("text"));
    }
    text
}

#[test]
fn formatting_gives_the_formatters_text() {
    let (mut c, _) = Client::ready(json!(null));
    let uri = "untitled:e.attn";
    let text = "let a=1\nlet b = 2\n\n\n\nlet c=3";
    c.open(uri, text);
    let params = |range: Value| json!({ "textDocument": { "uri": uri }, "options": { "tabSize": 4, "insertSpaces": true }, "range": range });
    let all = c.ask("textDocument/formatting", params(Value::Null))["result"].clone();
    let wanted = attnc_syntax::format(text).expect("formats");
    assert_ne!(wanted, text);
    assert_eq!(apply(text, &all), wanted);
    let first =
        json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 0, "character": 7 } });
    let some = c.ask("textDocument/rangeFormatting", params(first))["result"].clone();
    assert_eq!(apply(text, &some), text.replace("let a=1", "let a = 1"));
    c.open(uri, "let a=");
    let refused = c.ask("textDocument/formatting", params(Value::Null));
    assert_eq!(refused["error"]["code"], -32803);
    assert_eq!(c.end(), Some(0));
}

#[test]
fn columns_are_counted_in_the_units_agreed_on() {
    // A comment of wide characters before the mistake; edits land between them.
    let text = "/* é𝔸漢 */ let a = zz\r\n";
    for (offered, taken, column) in [
        (json!(null), "utf-16", 19),
        (json!(["utf-16"]), "utf-16", 19),
        (json!(["utf-16", "utf-8"]), "utf-8", 24),
        (json!(["utf-32", "utf-16"]), "utf-32", 18),
    ] {
        let (mut c, capabilities) = Client::ready(offered);
        assert_eq!(capabilities["positionEncoding"], taken);
        let uri = "untitled:f.attn";
        c.open(uri, text);
        let all = c.diagnostics("untitled:f.attn");
        let mut all = all.as_array().expect("a list").iter();
        let d = all.find(|d| d["code"] == "E0201").expect("unknown");
        let range = json!({ "start": { "line": 0, "character": column }, "end": { "line": 0, "character": column + 2 } });
        assert_eq!(d["range"], range, "{taken}");
        let change = json!({ "text": "5", "range": range });
        c.tell(
            "textDocument/didChange",
            json!({ "textDocument": { "uri": uri, "version": 2 }, "contentChanges": [change] }),
        );
        assert_eq!(c.codes("untitled:f.attn"), ["W07"], "{taken}");
        assert!(c.hover(uri, 0, column - 4).contains("let a = 5"), "{taken}");
        assert_eq!(c.end(), Some(0));
    }
}

#[test]
fn garbage_is_survived_and_answered() {
    let (mut c, _) = Client::ready(json!(null));
    for garbage in [
        "garbage\r\n",
        "Content-Length: 3\r\n\r\n{]}",
        "Content-Length: 99999999999\r\n",
        "Content-Length: x\r\n",
        "Content-Length: 4\r\n\r\n\u{1}\u{2}\u{3}\u{4}",
        "Content-Length: 2\r\n\r\n[]",
    ] {
        c.raw(garbage.as_bytes());
        let answer = c.receive();
        assert_eq!(answer["error"]["code"], -32700, "{garbage:?}");
    }
    let code = |answer: Value| answer["error"]["code"].as_i64();
    assert_eq!(code(c.ask("no/such", json!({}))), Some(-32601));
    assert_eq!(
        code(c.ask("textDocument/hover", json!({ "a": 1 }))),
        Some(-32602)
    );
    assert_eq!(
        code(c.ask("initialize", json!({ "capabilities": {} }))),
        Some(-32600)
    );
    c.tell("textDocument/didOpen", json!([1, 2]));
    c.tell(
        "textDocument/didChange",
        json!({ "textDocument": { "uri": "untitled:x", "version": 1 }, "contentChanges": [] }),
    );
    // Changes outside the text land at its end.
    c.open("untitled:g.attn", "");
    let far =
        json!({ "start": { "line": 9, "character": 9 }, "end": { "line": 3, "character": 0 } });
    c.tell("textDocument/didChange", json!({ "textDocument": { "uri": "untitled:g.attn", "version": 2 }, "contentChanges": [{ "range": far, "text": "let" }] }));
    assert_eq!(c.codes("untitled:g.attn"), ["E0111"]);
    let hover = c.at(
        "textDocument/hover",
        "untitled:g.attn",
        4_000_000_000,
        4_000_000_000,
    );
    assert!(
        hover["contents"]["value"]
            .as_str()
            .expect("text")
            .contains("names a value")
    );
    assert_eq!(code(c.ask("textDocument/hover", json!({ "textDocument": { "uri": "untitled:none" }, "position": { "line": 0, "character": 0 } }))), Some(-32602));
    assert_eq!(c.end(), Some(0));
}

#[test]
fn the_order_of_a_session_is_kept_and_shows_in_the_exit_code() {
    let mut c = Client::start();
    assert_eq!(
        c.ask("textDocument/hover", json!({}))["error"]["code"],
        -32002
    );
    c.tell("exit", Value::Null);
    assert_eq!(c.child.wait().expect("it ends").code(), Some(1));

    let (mut c, _) = Client::ready(json!(null));
    drop(c.input.take());
    assert_eq!(c.child.wait().expect("it ends").code(), Some(1));

    let (mut c, _) = Client::ready(json!(null));
    c.ask("shutdown", Value::Null);
    assert_eq!(
        c.ask("textDocument/hover", json!({}))["error"]["code"],
        -32600
    );
    c.tell("exit", Value::Null);
    assert_eq!(c.child.wait().expect("it ends").code(), Some(0));
}

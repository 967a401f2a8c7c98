// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The verbs around the compiler: pictures, predictions, measurements, completions, manual pages, versions.
//!
//! Data: made on the spot. Pictures are read back: colours against counted pairs, text against white paper. Times are never judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use attnc::pattern::Pattern;
use attnc_spec::{LoadError, Loaded, Loader, Operator, resolve};
use serde_json::Value;

const OP: &str = "attention op {\n    heads = 4, head_dim = 8, causal = true\n    for i in 0..3 { branch { segment = 8 * 2^i, dilation = 2^i } }\n    branch { segment = 8 }\n}\n";

struct Run {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl Run {
    fn text(&self) -> String {
        String::from_utf8(self.out.clone()).expect("UTF-8")
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.args(arguments).current_dir(folder).env_clear();
    // Nothing of the machine's fonts can be found.
    command
        .env("FONTCONFIG_FILE", "/dev/null")
        .stdin(Stdio::null());
    command
}

fn attnc(folder: &Path, arguments: &[&str]) -> Run {
    let o = command(folder, arguments)
        .output()
        .expect("the command runs");
    let err = String::from_utf8(o.stderr).expect("UTF-8");
    assert!(!err.contains("panicked"), "{arguments:?}: {err}");
    Run {
        code: o.status.code(),
        out: o.stdout,
        err,
    }
}

fn good(folder: &Path, arguments: &[&str]) -> Run {
    let run = attnc(folder, arguments);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.err);
    run
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("op.attn"), OP).expect("written");
    folder
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .expect("a folder")
        .map(|e| {
            e.expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

struct Nothing;

impl Loader for Nothing {
    fn load(&mut self, _: &str, _: &str) -> Result<Loaded, LoadError> {
        Err(LoadError::NotFound)
    }
}

fn operator() -> Arc<Operator> {
    let found = resolve(vec![Ok(Loaded::text("op.attn", OP))], &mut Nothing);
    Arc::clone(&found.files[0].own[0])
}

/// Pixels of a PNG file and how to find one.
struct Image {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
}

impl Image {
    fn read(path: &Path) -> Image {
        let bytes = fs::read(path).expect("written");
        let mut reader = png::Decoder::new(Cursor::new(bytes))
            .read_info()
            .expect("a PNG file");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut pixels).expect("a picture");
        assert_eq!(info.color_type, png::ColorType::Rgb);
        Image {
            pixels,
            width: info.width as usize,
            height: info.height as usize,
        }
    }
    /// The colour at logical pixels.
    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * 2 * self.width + x * 2) * 3;
        self.pixels[at..at + 3].try_into().expect("three")
    }
    /// Dark pixels in a rectangle of logical pixels.
    fn ink(&self, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> usize {
        let dark = |(x, y)| self.at(x, y).iter().all(|c| *c < 140);
        y.flat_map(|y| x.clone().map(move |x| (x, y)))
            .filter(|p| dark(*p))
            .count()
    }
}

#[test]
fn colours_of_the_picture_are_the_numbers_of_branches() {
    let folder = folder();
    for (head, n) in [(0, 40), (3, 40)] {
        let (h, len) = (head.to_string(), n.to_string());
        let arguments = [
            "plot",
            "op.attn",
            "--seq-len",
            &len,
            "--head",
            &h,
            "-o",
            "p.png",
        ];
        good(folder.path(), &arguments);
        let image = Image::read(&folder.path().join("p.png"));
        let p = Pattern::count(&operator(), &[0, 1, 2, 3], head, n, 1000).expect("small");
        let cell = 560 / n as usize;
        let mut colours: BTreeMap<u64, BTreeSet<[u8; 3]>> = BTreeMap::new();
        for i in 0..n as usize {
            for j in 0..=i {
                let colour = image.at(84 + j * cell + cell / 2, 100 + i * cell + cell / 2);
                let count = p.counts[i * p.bins + j];
                colours.entry(count).or_default().insert(colour);
            }
        }
        // One colour a number, white for none; none twice.
        assert!(colours.len() >= 4, "{colours:?}");
        assert!(colours.values().all(|c| c.len() == 1), "{colours:?}");
        assert_eq!(colours[&0], BTreeSet::from([[255; 3]]));
        let all: BTreeSet<_> = colours.values().flatten().collect();
        assert_eq!(all.len(), colours.len());
        // What causality hides is grey.
        let hidden = image.at(84 + cell * 5 + cell / 2, 100 + cell / 2);
        assert!(hidden[0] > 230 && hidden != [255; 3], "{hidden:?}");
    }
}

#[test]
fn text_appears_without_any_font_on_the_machine() {
    let folder = folder();
    good(
        folder.path(),
        &["plot", "op.attn", "--seq-len", "40", "-o", "p.png"],
    );
    let image = Image::read(&folder.path().join("p.png"));
    assert!(image.ink(84..140, 18..42) > 50, "no title");
    assert!(image.ink(84..400, 50..66) > 50, "no subtitle");
    let bottom = image.height / 2;
    assert!(
        image.ink(84..500, bottom - 110..bottom - 10) > 200,
        "no legend"
    );
}

#[test]
fn pictures_are_vectors_with_text_and_the_same_every_time() {
    let folder = folder();
    let one = good(folder.path(), &["plot", "op.attn", "--seq-len", "40"]).text();
    assert!(one.starts_with("<svg ") && one.trim_end().ends_with("</svg>"));
    for text in [
        "key position",
        "query position",
        "segment 16, dilation 2",
        "head 0 of 4",
        "causal",
        "<title>",
    ] {
        assert!(one.contains(text), "{text}");
    }
    assert!(one.contains("one query and one key") && !one.contains("Binned"));
    good(
        folder.path(),
        &["plot", "op.attn", "--seq-len", "40", "-o", "p.svg"],
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("p.svg")).expect("written"),
        one
    );
    let long = good(folder.path(), &["plot", "op.attn", "--seq-len", "9000"]).text();
    assert!(
        long.contains("Binned: each square is the mean of 64 × 64 pairs"),
        "{long}"
    );
    assert!(long.len() < 2_000_000, "{}", long.len());
}

#[test]
fn what_a_picture_cannot_show_is_said() {
    let folder = folder();
    let text = "attention z { heads = 2, head_dim = 8, ragged = zero_keys, branch { segment = 24, dilation = 5 } }\n";
    fs::write(folder.path().join("z.attn"), text).expect("written");
    let svg = good(folder.path(), &["plot", "z.attn", "--seq-len", "50"]).text();
    assert!(
        svg.contains("Zero keys") && svg.contains("covered by no branch"),
        "{svg}"
    );
    let many =
        "attention m { heads = 2, head_dim = 8\n for i in 0..14 { branch { segment = i + 4 } } }\n";
    fs::write(folder.path().join("m.attn"), many).expect("written");
    let svg = good(folder.path(), &["plot", "m.attn", "--seq-len", "50"]).text();
    assert!(svg.contains("2 more branches have no small picture"));
    for n in ["1", "2", "279", "280", "281", "1M"] {
        good(
            folder.path(),
            &["plot", "op.attn", "--seq-len", n, "-o", "p.png"],
        );
    }
}

#[test]
fn foreign_wishes_are_usage_errors_and_write_nothing() {
    let folder = folder();
    for (arguments, message) in [
        (
            &["plot", "op.attn", "--seq-len", "8", "-o", "p.pdf"][..],
            ".svg or .png",
        ),
        (
            &["plot", "op.attn", "--seq-len", "8", "-o", "p"],
            ".svg or .png",
        ),
        (
            &["plot", "op.attn", "--seq-len", "8", "--head", "4"],
            "heads 0 to 3",
        ),
        (
            &["plot", "op.attn", "--seq-len", "8", "--head", "1G"],
            "heads 0 to 3",
        ),
        (&["plot", "op.attn", "--seq-len", "2M"], "1 to 1048576"),
        (&["plot", "op.attn", "--seq-len", "0"], "--seq-len"),
        (&["plot", "op.attn"], "--seq-len"),
        (&["bench", "op.attn"], "--seq-len"),
        (
            &["bench", "op.attn", "--seq-len", "4..2"],
            "ends before it starts",
        ),
        (
            &["bench", "op.attn", "--seq-len", "64", "--plot", "p.pdf"],
            ".svg or .png",
        ),
        (&["cost", "op.attn"], "--seq-len"),
        (
            &[
                "cost",
                "op.attn",
                "--seq-len",
                "8",
                "--no-time",
                "--measure",
            ],
            "--measure",
        ),
        (&["completions", "tcsh"], "tcsh"),
        (&["man"], "--output"),
    ] {
        let run = attnc(folder.path(), arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.err);
        assert!(run.err.contains(message), "{arguments:?}: {}", run.err);
        assert!(run.out.is_empty(), "{arguments:?}");
    }
    assert_eq!(names(folder.path()), BTreeSet::from(["op.attn".to_owned()]));
}

fn lines(run: &Run) -> Vec<Value> {
    let parse = |l: &str| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"));
    run.text().lines().map(parse).collect()
}

#[test]
fn a_bench_measures_every_length_and_draws_them() {
    let folder = folder();
    let arguments = [
        "bench",
        "op.attn",
        "--seq-len",
        "64..256,300",
        "--batch",
        "2",
        "--threads",
        "1",
        "--repeat",
        "2",
        "--json",
        "--plot",
        "b.svg",
    ];
    let run = good(folder.path(), &arguments);
    let points = lines(&run);
    let lengths: Vec<u64> = points
        .iter()
        .map(|p| p["seq_len"].as_u64().expect("N"))
        .collect();
    assert_eq!(lengths, [64, 128, 256, 300]);
    for p in &points {
        let number = |key: &str| p[key].as_f64().unwrap_or_else(|| panic!("{key}: {p}"));
        assert_eq!(p["run_ms_all"].as_array().expect("times").len(), 2);
        assert_eq!((number("batch"), number("threads")), (2.0, 1.0));
        let tokens = 2.0 * number("seq_len");
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        assert!(close(
            number("ns_per_token"),
            number("run_ms") * 1e6 / tokens
        ));
        assert!(close(
            number("gflops"),
            2.0 * number("madds_formula") / number("run_ms") / 1e6
        ));
        // q, k, v, out of four heads of eight f32 and lse.
        assert_eq!(
            number("tensor_bytes"),
            tokens * 4.0 * (4.0 * 8.0 * 4.0 + 4.0)
        );
        assert!(number("madds_executed") > 0.0 && number("gflops_executed") > 0.0);
    }
    let svg = fs::read_to_string(folder.path().join("b.svg")).expect("written");
    for text in [
        "time a token",
        "GFLOP/s, by formula",
        "memory",
        "sequence length N",
        "op",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    let arguments = [
        "bench",
        "op.attn",
        "--seq-len",
        "64",
        "--repeat",
        "1",
        "--plot",
        "b.png",
    ];
    let table = good(folder.path(), &arguments).text();
    assert!(
        table.contains("ns/token") && table.lines().count() == 3,
        "{table}"
    );
    let image = Image::read(&folder.path().join("b.png"));
    assert!(image.ink(20..60, 14..40) > 20, "no title");
}

#[test]
fn a_bench_over_threads_tells_speed_up_and_how_busy_workers_are() {
    let folder = folder();
    let arguments = [
        "bench",
        "op.attn",
        "--seq-len",
        "3000,6k",
        "--threads",
        "1..2,3",
        "--repeat",
        "2",
    ];
    let run = good(folder.path(), &[&arguments[..], &["--json"]].concat());
    let points = lines(&run);
    let number = |p: &Value, key: &str| p[key].as_f64().unwrap_or_else(|| panic!("{key}: {p}"));
    let sizes: Vec<(f64, f64)> = points
        .iter()
        .map(|p| (number(p, "seq_len"), number(p, "threads")))
        .collect();
    let threads = [1.0, 2.0, 3.0];
    let want = [3000.0, 6144.0].map(|n| threads.map(|t| (n, t))).concat();
    assert_eq!(sizes, want);
    for lengths in points.chunks(3) {
        let first = number(&lengths[0], "run_ms");
        for p in lengths {
            let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
            assert!(close(number(p, "speedup"), first / number(p, "run_ms")));
            let workers = p["workers"].as_array().expect("workers");
            assert_eq!(workers.len() as f64, number(p, "threads"));
            let sum: f64 = workers.iter().map(|w| number(w, "madds")).sum();
            assert_eq!(sum, number(p, "madds_executed"));
            // A worker is not longer in generated code than the call takes.
            let last = p["run_ms_all"][1].as_f64().expect("two");
            for w in workers {
                assert!(number(w, "tasks") > 0.0, "{p}");
                let busy = number(w, "busy_ms");
                assert!(busy > 0.0 && busy <= last, "{p}");
            }
        }
    }
    let table = good(folder.path(), &arguments).text();
    assert!(
        table.contains("speed-up") && table.contains("busy") && table.lines().count() == 8,
        "{table}"
    );
}

#[test]
fn lengths_that_do_not_fit_are_refused_before_the_first_measurement() {
    let folder = folder();
    let arguments = [
        "bench",
        "op.attn",
        "--seq-len",
        "64,1G",
        "--batch",
        "1M",
        "--plot",
        "b.svg",
    ];
    let run = attnc(folder.path(), &arguments);
    assert_eq!(run.code, Some(1));
    assert!(
        run.err.contains("are available") && run.out.is_empty(),
        "{}",
        run.err
    );
    let run = attnc(
        folder.path(),
        &[
            "cost",
            "op.attn",
            "--seq-len",
            "1G",
            "--batch",
            "1M",
            "--measure",
        ],
    );
    assert_eq!(run.code, Some(1));
    let run = attnc(
        folder.path(),
        &["bench", "op.attn", "--seq-len", "64", "--plot", "no/b.svg"],
    );
    assert_eq!(run.code, Some(1));
    assert!(
        run.err.contains("cannot write no/b.svg") && run.out.is_empty(),
        "{}",
        run.err
    );
    assert_eq!(names(folder.path()), BTreeSet::from(["op.attn".to_owned()]));
}

#[cfg(unix)]
#[test]
fn an_interrupted_bench_leaves_nothing() {
    let folder = folder();
    let endless = [
        "bench",
        "op.attn",
        "--seq-len",
        "64,1k",
        "--repeat",
        "1G",
        "--plot",
        "b.svg",
    ];
    let mut child = command(folder.path(), &endless)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command runs");
    // The heading: it is measuring.
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    out.read_line(&mut line).expect("a line");
    assert!(line.contains("op"), "{line}");
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(names(folder.path()), BTreeSet::from(["op.attn".to_owned()]));
}

#[test]
fn costs_without_times_are_the_same_everywhere() {
    let folder = folder();
    let arguments = [
        "cost",
        "op.attn",
        "--seq-len",
        "4k",
        "--target",
        "aarch64",
        "--no-time",
        "--json",
    ];
    let one = good(folder.path(), &arguments);
    assert_eq!(one.out, good(folder.path(), &arguments).out);
    let c = &lines(&one)[0];
    let number = |key: &str| c[key].as_u64().unwrap_or_else(|| panic!("{key}: {c}"));
    assert!(number("madds_distinct") < number("madds_shown"));
    assert!(c["pairs_exact"].as_bool().expect("known"));
    assert!(c["why"].as_str().expect("a reason").len() > 10);
    assert_eq!(c["times"], Value::Array(Vec::new()));
    let table = good(folder.path(), &arguments[..7]).text();
    for text in [
        "by formula",
        "distinct",
        "in force",
        "bytes moved",
        "workspace",
    ] {
        assert!(table.contains(text), "{text}: {table}");
    }
    assert!(!table.contains("predicted"));
}

#[test]
fn predictions_stand_beside_what_was_measured() {
    let folder = folder();
    let text = "attention c { heads = 2, head_dim = 64\n for i in 0..3 { branch { segment = 512 * 2^i, dilation = 2^i } } }\nattention d = c with { causal = true }\n";
    fs::write(folder.path().join("c.attn"), text).expect("written");
    for name in ["c", "d"] {
        let arguments = [
            "cost",
            "c.attn",
            "--name",
            name,
            "--seq-len",
            "4k",
            "--measure",
            "--json",
            "--threads",
            "1",
        ];
        let c = lines(&good(folder.path(), &arguments)).remove(0);
        let times = c["times"].as_array().expect("times");
        assert_eq!(times.len(), 2);
        for t in times {
            let plan = t["plan"].as_str().expect("a plan");
            let executed = t["madds_executed"].as_f64().expect("measured");
            let predicted = c[plan]["madds"].as_f64().expect("predicted");
            // At this length every task is counted.
            assert_eq!(predicted, executed, "{name} {plan}");
            assert!(
                t["predicted_ms"].as_f64() > Some(0.0) && t["measured_ms"].as_f64() > Some(0.0)
            );
            assert!(t["peak_extra_bytes"].as_u64() > Some(0));
        }
    }
}

#[test]
fn completions_know_every_verb_and_shells_accept_them() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = good(folder.path(), &["completions", shell]).text();
        for word in ["attnc", "bench", "explain-code", "seq-len"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        fs::write(folder.path().join(shell), script).expect("written");
        if matches!(shell, "bash" | "zsh" | "fish") {
            let check = Command::new(shell)
                .arg("-n")
                .arg(folder.path().join(shell))
                .status();
            match check {
                Ok(status) => assert!(status.success(), "{shell}"),
                Err(_) => println!("skipped: no {shell}"),
            }
        }
    }
}

#[test]
fn there_is_a_manual_page_for_every_verb() {
    let folder = folder();
    good(folder.path(), &["man", "-o", "man/man1"]);
    let found = names(&folder.path().join("man/man1"));
    let help = good(folder.path(), &["--help"]).text();
    let (_, list) = help.split_once("Commands:\n").expect("a list");
    let verbs: Vec<&str> = list
        .lines()
        .take_while(|l| !l.is_empty())
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|v| *v != "help")
        .collect();
    assert!(verbs.len() > 12, "{verbs:?}");
    for verb in verbs {
        assert!(
            found.contains(&format!("attnc-{verb}.1")),
            "{verb}: {found:?}"
        );
    }
    assert!(found.contains("attnc-cache-stat.1"));
    let page = fs::read_to_string(folder.path().join("man/man1/attnc-run.1")).expect("written");
    for text in [".TH", "seq\\-len", "verify", "error\\-format"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn the_short_version_is_one_line_and_the_long_one_tells_the_build() {
    let folder = folder();
    let short = good(folder.path(), &["-V"]).text();
    assert_eq!(short, format!("attnc {}\n", env!("CARGO_PKG_VERSION")));
    let long = good(folder.path(), &["--version"]).text();
    assert!(long.starts_with(&short), "{long}");
    assert!(
        long.contains("\ncommit: ") && long.contains("\nfeatures: "),
        "{long}"
    );
}

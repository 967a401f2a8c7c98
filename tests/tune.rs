// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc tune`, its file, and what reads it: what was measured is used where it holds and nowhere else, and a file never decides more
//! than how fast a kernel is. Data: a small operator, files made on the spot. Which schedule wins is the machine's business.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use attnc::pipeline::{Choices, Plan, Sizes};
use attnc::tune::{Found, MachineId, Outcome, TuneFile, TuneOptions, Tuning, tune, tune_by};
use attnc::{
    Attention, Backend, Call, Compiler, CpuTarget, Engine, EngineError, Executed, Operator, Source,
    Target,
};
use serde_json::Value;

const OP: &str = "attention op {\n    heads = 2, head_dim = 16\n    for i in 0..2 { branch { segment = 64 * 2^i, dilation = 2^i } }\n}\n";

/// A schedule within the limits that nobody wants: a task, a block and a panel for every few rows.
const SLOW: &str = "{ chunk = 8, mq = 8, nk = 40, panel = 40, rows = 8, slots = 1 }";

fn operator() -> Operator {
    Attention::parse(OP).expect("right").operator().clone()
}

fn native() -> &'static str {
    Target::native().expect("code for this machine").name()
}

fn options(candidates: usize, budget: f64) -> TuneOptions {
    TuneOptions {
        seq_len: Some(256),
        batch: 1,
        seed: 0,
        threads: 1,
        budget: Duration::from_secs_f64(budget),
        candidates,
    }
}

fn tuned() -> TuneFile {
    let entry = tune(&operator(), native(), &options(3, 2.0), &|_| ()).expect("tunes");
    let mut file = TuneFile::default();
    file.put(entry);
    file
}

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.args(arguments).current_dir(folder).env_clear();
    command.stdin(Stdio::null());
    command
}

fn attnc(folder: &Path, arguments: &[&str]) -> Run {
    let o = command(folder, arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (out, err) = (text(o.stdout), text(o.stderr));
    assert!(!err.contains("panicked"), "{arguments:?}: {err}");
    let code = o.status.code();
    Run { code, out, err }
}

fn good(folder: &Path, arguments: &[&str]) -> Run {
    let run = attnc(folder, arguments);
    assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.err);
    run
}

/// A folder with the operator.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("op.attn"), OP).expect("written");
    folder
}

fn names(folder: &Path) -> BTreeSet<String> {
    let name = |e: std::io::Result<fs::DirEntry>| e.expect("readable").file_name();
    fs::read_dir(folder)
        .expect("a folder")
        .map(|e| name(e).to_string_lossy().into_owned())
        .collect()
}

/// Writes a good file beside the operator, changed by `change`.
fn plant(folder: &Path, file: &TuneFile, change: impl Fn(&str) -> String) {
    let text = file.text().expect("text");
    let changed: String = text.lines().map(|l| change(l) + "\n").collect();
    fs::write(folder.join("op.tune.toml"), changed).expect("written");
}

/// The same line with another value, where it has this key.
fn with(key: &str, value: &str) -> impl Fn(&str) -> String {
    let (key, line) = (format!("{key} = "), format!("{key} = {value}"));
    move |l| match l.starts_with(&key) {
        true => line.clone(),
        false => l.to_owned(),
    }
}

const RUN: [&str; 8] = [
    "run",
    "op.attn",
    "--seq-len",
    "300",
    "--verify",
    "--json",
    "--threads",
    "1",
];

/// A run that went well and was right: its report and what it told beside.
fn run(folder: &Path, more: &[&str]) -> (Value, String) {
    let run = good(folder, &[&RUN, more].concat());
    let report: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(report["verified"], true);
    // The worst row is told beside, not of the report.
    let told = run
        .err
        .lines()
        .filter(|l| !l.starts_with("note: worst row"));
    (report, told.map(|l| format!("{l}\n")).collect())
}

#[test]
fn a_file_says_the_same_when_it_is_read_and_written_again() {
    let file = tuned();
    let text = file.text().expect("text");
    let again = TuneFile::parse(&text).expect("its own text");
    assert_eq!(again, file);
    assert_eq!(again.text().expect("text"), text);
    let e = &file.entries()[0];
    assert_eq!((e.operator.as_str(), e.target.as_str()), ("op", native()));
    assert_eq!((e.measured.seq_len, e.measured.threads), (256, 1));
    // Every candidate with its times, the default first.
    assert_eq!(e.candidates.len(), 3);
    assert_eq!(e.candidates[0].plan, Plan::Auto);
    for c in &e.candidates {
        assert_eq!(c.outcome, Outcome::Right);
        assert!(c.runs >= 2 && c.median_ms > 0.0 && c.spread_ms >= 0.0);
    }
    assert!(matches!(file.find(&operator(), native()), Found::Fits(_)));
}

#[test]
fn what_is_no_tune_file_is_refused_with_a_reason() {
    let text = tuned().text().expect("text");
    for (damage, reason) in [
        (text.replace("form = 1", "form = 2"), "form is 2"),
        (text.replace("form = 1\n", ""), "form"),
        (text.replace("plan = \"", "plan = \"x"), "unknown variant"),
        (text.replace("nk = ", "nk = -"), "invalid value"),
        (text.replace("compiler = ", "complier = "), "unknown field"),
        (text[..text.len() / 2].to_owned(), ""),
        ("no TOML".to_owned(), ""),
    ] {
        let e = TuneFile::parse(&damage).expect_err(&damage).to_string();
        assert!(e.contains(reason) && e.contains("attnc tune"), "{e}");
    }
}

#[test]
fn an_entry_of_anything_else_is_stale_and_says_in_what() {
    let (file, op) = (tuned(), operator());
    let here = MachineId::here();
    let other = |name: &str| -> Vec<&'static str> {
        let mut machine = here.clone();
        let mut op = op.clone();
        let mut target = native();
        match name {
            "dtype" => op.dtype = attnc::DType::Bf16,
            "operator" => op.scale *= 2.0,
            "target" => target = "aarch64",
            "cpu" => machine.cpu += "!",
            "cores" => machine.cores += 1,
            _ => machine.features.push("more".to_owned()),
        }
        match file.find_on(&op, target, &machine) {
            Found::Stale(fields) => fields,
            found => panic!("{name}: {found:?}"),
        }
    };
    assert_eq!(other("dtype"), ["dtype"]);
    assert_eq!(other("operator"), ["operator (hash)"]);
    assert_eq!(other("target"), ["target"]);
    assert_eq!(other("cpu"), ["machine (cpu)"]);
    assert_eq!(other("cores"), ["machine (cores)"]);
    assert_eq!(other("features"), ["machine (features)"]);
    let text = file.text().expect("text");
    let of_another = text.replace("compiler = \"", "compiler = \"0");
    let of_another = TuneFile::parse(&of_another).expect("a file");
    assert_eq!(
        of_another.find(&op, native()),
        Found::Stale(vec!["compiler"])
    );
    let renamed = Operator {
        name: "other".into(),
        ..op
    };
    assert_eq!(file.find(&renamed, native()), Found::Nothing);
}

#[test]
fn a_stale_file_costs_a_warning_that_names_the_field() {
    let (folder, file) = (folder(), tuned());
    let (plain, told) = run(folder.path(), &[]);
    assert_eq!(told, "");
    for (key, value, field) in [
        ("hash", "\"00\"", "operator (hash)"),
        ("target", "\"aarch64\"", "target"),
        ("dtype", "\"bf16\"", "dtype"),
        ("compiler", "\"0.0.0\"", "compiler"),
        (
            "machine",
            "{ cpu = \"abacus\", cores = 1000, features = [] }",
            "machine (cpu) and another machine (cores)",
        ),
    ] {
        plant(folder.path(), &file, |l| {
            with("schedule", SLOW)(&with(key, value)(l))
        });
        let (report, told) = run(folder.path(), &[]);
        assert!(
            told.starts_with("warning: op.tune.toml") && told.contains(&format!("another {field}")),
            "{told}"
        );
        assert_eq!(report["madds_executed"], plain["madds_executed"]);
        // Asked for the default, nobody needs to be told.
        assert_eq!(run(folder.path(), &["--no-tune"]).1, "");
    }
}

#[test]
fn a_planted_slow_schedule_is_used_until_it_is_measured_anew() {
    let (folder, file) = (folder(), tuned());
    let (plain, _) = run(folder.path(), &[]);
    plant(folder.path(), &file, with("schedule", SLOW));
    let (report, told) = run(folder.path(), &[]);
    assert_eq!(told, "");
    assert_ne!(
        report["madds_executed"], plain["madds_executed"],
        "it is used"
    );
    let (default, _) = run(folder.path(), &["--no-tune"]);
    assert_eq!(default["madds_executed"], plain["madds_executed"]);
    // Wherever a kernel is shown, it is the one that runs.
    let stage = |more: &[&str]| {
        let emit = ["emit", "op.attn", "--stage", "tile"];
        good(folder.path(), &[&emit, more].concat()).out
    };
    assert_ne!(stage(&[]), stage(&["--no-tune"]));
    let bench = ["bench", "op.attn", "--seq-len", "64", "--repeat", "1"];
    assert!(good(folder.path(), &bench).out.contains("plan tuned"));
    let again = [
        "tune",
        "op.attn",
        "--budget",
        "2",
        "--candidates",
        "3",
        "--seq-len",
        "256",
        "--threads",
        "1",
    ];
    let told = good(folder.path(), &again).out;
    assert!(told.contains("written to op.tune.toml"), "{told}");
    let text = fs::read_to_string(folder.path().join("op.tune.toml")).expect("written");
    assert!(!text.contains(SLOW), "{text}");
    let read = TuneFile::parse(&text).expect("a tune file");
    assert_eq!(read.entries().len(), 1, "replaced, not added");
    let (_, told) = run(folder.path(), &[]);
    assert_eq!(told, "");
}

#[test]
fn a_schedule_that_the_compiler_refuses_gives_way_to_the_default() {
    let (folder, file) = (folder(), tuned());
    let (plain, _) = run(folder.path(), &[]);
    for (schedule, reason) in [
        (
            "{ chunk = 64, mq = 12, nk = 40, panel = 40, rows = 24, slots = 1 }",
            "mq = 12",
        ),
        (
            "{ chunk = 64, mq = 8, nk = 41, panel = 41, rows = 8, slots = 1 }",
            "nk = 41",
        ),
        (
            "{ chunk = 64, mq = 8, nk = 40, panel = 60, rows = 8, slots = 1 }",
            "panel = 60",
        ),
        (
            "{ chunk = 64, mq = 16, nk = 40, panel = 40, rows = 24, slots = 1 }",
            "rows = 24",
        ),
        (
            "{ chunk = 0, mq = 8, nk = 40, panel = 40, rows = 8, slots = 1 }",
            "chunk = 0",
        ),
        (
            "{ chunk = 64, mq = 8, nk = 40, panel = 40, rows = 8, slots = 4000000000 }",
            "slots = 4000000000",
        ),
        (
            "{ chunk = 64, mq = 8, nk = 640, panel = 7680, rows = 8, slots = 1024 }",
            "bytes a worker",
        ),
    ] {
        plant(folder.path(), &file, with("schedule", schedule));
        let (report, told) = run(folder.path(), &[]);
        assert!(
            told.contains(reason) && told.contains("default schedule"),
            "{told}"
        );
        assert_eq!(report["madds_executed"], plain["madds_executed"]);
    }
    // The library tells the same.
    let text = file.text().expect("text");
    let bad = text.lines().map(|l| {
        with(
            "schedule",
            "{ chunk = 1, mq = 8, nk = 40, panel = 40, rows = 9, slots = 1 }",
        )(l) + "\n"
    });
    let bad = TuneFile::parse(&bad.collect::<String>()).expect("a file");
    let compiler = Compiler::new(&Target::native().expect("here")).tune_file(bad);
    let kernel = compiler
        .compile(&Attention::parse(OP).expect("right"))
        .expect("the default");
    assert!(matches!(kernel.tuning(), Tuning::Refused(why) if why.contains("rows = 9")));
}

#[test]
fn files_that_cannot_be_read_fail_where_they_are_named_and_warn_where_they_are_found() {
    let folder = folder();
    let missing = attnc(folder.path(), &[&RUN, &["--tune", "no.toml"][..]].concat());
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("no.toml"), "{}", missing.err);
    fs::write(folder.path().join("op.tune.toml"), "form = \"one\"").expect("written");
    let (_, told) = run(folder.path(), &[]);
    assert!(told.starts_with("warning: op.tune.toml"), "{told}");
    let named = attnc(
        folder.path(),
        &[&RUN, &["--tune", "op.tune.toml"][..]].concat(),
    );
    assert_eq!(named.code, Some(1));
    // What is not ours is not written over.
    let tune = attnc(folder.path(), &["tune", "op.attn", "--budget", "1"]);
    assert_eq!(tune.code, Some(1));
    let kept = fs::read_to_string(folder.path().join("op.tune.toml")).expect("there");
    assert_eq!(kept, "form = \"one\"");
    fs::write(folder.path().join("op.tune.toml"), "form = 1").expect("written");
    let (_, told) = run(folder.path(), &["--tune", "op.tune.toml"]);
    assert!(told.contains("holds nothing for `op`"), "{told}");
    for (arguments, code) in [
        (&["tune", "-"][..], 2),
        (&["tune", "op.attn", "--budget", "0"], 2),
        (&["tune", "op.attn", "--candidates", "0"], 2),
        (&["tune", "op.attn", "--target", "sm_80"], 1),
        (&["tune", "op.attn", "--output", "no/where.toml"], 1),
        (
            &[
                "emit", "op.attn", "--stage", "tile", "--tune", "a", "--plan", "share",
            ],
            2,
        ),
        (
            &[
                "build", "op.attn", "-o", "b", "--tune", "a", "--plan", "each",
            ],
            2,
        ),
        (
            &[
                "emit",
                "op.attn",
                "--stage",
                "tile",
                "--tune",
                "a",
                "--no-tune",
            ],
            2,
        ),
    ] {
        let run = attnc(folder.path(), arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.err);
        assert!(run.out.is_empty() && !run.err.is_empty());
    }
}

#[test]
fn the_kernel_cache_tells_schedules_apart() {
    let (folder, file) = (folder(), tuned());
    plant(folder.path(), &file, with("schedule", SLOW));
    let cached = |more: &[&str]| {
        let mut command = command(folder.path(), &[&RUN, more].concat());
        let o = command
            .env("ATTNC_CACHE_DIR", "cache")
            .output()
            .expect("runs");
        let report: Value = serde_json::from_slice(&o.stdout).expect("JSON");
        let word = |key: &str| report[key].to_string();
        (word("cache"), word("madds_executed"))
    };
    let (first, default) = (cached(&[]), cached(&["--no-tune"]));
    assert_eq!((&*first.0, &*default.0), ("\"miss\"", "\"miss\""));
    assert_ne!(first.1, default.1);
    assert_eq!(cached(&[]), ("\"hit\"".to_owned(), first.1));
    assert_eq!(cached(&["--no-tune"]), ("\"hit\"".to_owned(), default.1));
}

#[test]
fn a_build_takes_the_schedule_and_tells_where_it_does_not() {
    let (folder, file) = (folder(), tuned());
    plant(folder.path(), &file, with("schedule", SLOW));
    let object = |to: &str, more: &[&str]| {
        let build = ["build", "op.attn", "-o", to];
        let told = good(folder.path(), &[&build, more].concat()).err;
        let name = format!("{to}/op.{}.o", native());
        (fs::read(folder.path().join(name)).expect("built"), told)
    };
    let (tuned, told) = object("a", &[]);
    assert_eq!(told, "");
    let (default, _) = object("b", &["--no-tune"]);
    assert!(tuned != default, "the same object");
    plant(folder.path(), &file, with("compiler", "\"0.0.0\""));
    let (stale, told) = object("c", &[]);
    assert!(
        stale == default && told.contains("another compiler"),
        "{told}"
    );
}

/// An engine that answers at once and computes nothing.
struct Hasty(Box<dyn Engine>);

impl Engine for Hasty {
    fn target(&self) -> &str {
        self.0.target()
    }
    fn kernel(&self) -> &str {
        self.0.kernel()
    }
    fn forward(&self, _: Call<'_>) -> Result<Executed, EngineError> {
        Ok(Executed::default())
    }
}

#[test]
fn a_candidate_with_a_wrong_result_is_never_chosen() {
    let op = operator();
    let default = Choices::new(native());
    let wrong = Cell::new(0);
    let make = |choices: &Choices| {
        let compiler = Compiler::with(choices.clone());
        let engine = compiler.engine(&Source::from(&op), Backend::Cpu)?;
        // The default comes without sizes first and with its own sizes as a candidate.
        let sizes = choices.sizes.map(|s| (s, choices.plan));
        let own = sizes.is_none() || wrong.get() == 0;
        if sizes.is_none() || own {
            if sizes.is_some() {
                wrong.set(1);
            }
            return Ok(engine);
        }
        wrong.set(wrong.get() + 1);
        Ok(Box::new(Hasty(engine)) as Box<dyn Engine>)
    };
    let entry = tune_by(&make, &op, &default.target, &options(6, 30.0), &|_| ()).expect("tunes");
    assert_eq!(wrong.get(), 6);
    let outcomes: Vec<Outcome> = entry.candidates.iter().map(|c| c.outcome).collect();
    assert_eq!(outcomes[0], Outcome::Right);
    assert!(
        outcomes[1..].iter().all(|o| *o == Outcome::Wrong),
        "{outcomes:?}"
    );
    assert_eq!(entry.schedule, entry.candidates[0].schedule);
    assert!(entry.candidates[1..].iter().all(|c| c.runs == 0));
}

#[test]
fn a_candidate_that_is_faster_wins_and_one_that_cannot_be_made_is_left_out() {
    let op = operator();
    // The default dawdles; of the others every second cannot be made.
    struct Slow(Box<dyn Engine>);
    impl Engine for Slow {
        fn target(&self) -> &str {
            self.0.target()
        }
        fn kernel(&self) -> &str {
            self.0.kernel()
        }
        fn forward(&self, call: Call<'_>) -> Result<Executed, EngineError> {
            std::thread::sleep(Duration::from_millis(200));
            self.0.forward(call)
        }
    }
    let made = Cell::new(0);
    let make = |choices: &Choices| {
        let engine = Compiler::with(choices.clone()).engine(&Source::from(&op), Backend::Cpu)?;
        let i = made.replace(made.get() + 1);
        match i {
            0 | 1 => Ok(Box::new(Slow(engine)) as Box<dyn Engine>),
            i if i % 2 == 0 => Ok(engine),
            _ => Err(EngineError::NotBuiltYet(Backend::Cpu)),
        }
    };
    let entry = tune_by(&make, &op, native(), &options(5, 20.0), &|_| ()).expect("tunes");
    let outcomes: Vec<Outcome> = entry.candidates.iter().map(|c| c.outcome).collect();
    let (right, refused) = (Outcome::Right, Outcome::Refused);
    assert_eq!(outcomes, [right, right, refused, right, refused]);
    assert_ne!(entry.schedule, entry.candidates[0].schedule);
    assert!(entry.measured.chosen_ms < entry.measured.default_ms);
}

#[test]
fn the_budget_ends_the_search_and_the_seed_decides_its_order() {
    let op = operator();
    let steps = Cell::new(0);
    let count = |_| steps.set(steps.get() + 1);
    let entry = tune(&op, native(), &options(50, 1e-6), &count).expect("tunes");
    // The default once, and one round of it.
    assert_eq!(entry.candidates.len(), 1);
    assert_eq!((entry.candidates[0].runs, steps.get()), (2, 2));
    let list = |seed| attnc::tune::candidates(&op, native(), 256, 1, seed, 60).expect("candidates");
    assert_eq!(list(7), list(7));
    assert_ne!(list(7), list(8));
    let all = list(0);
    let default = attnc::tune::candidates(&op, native(), 256, 1, 0, 1).expect("one");
    assert_eq!((all.len(), &all[..1]), (60, &default[..]));
    let different: BTreeSet<(String, Sizes)> = all
        .iter()
        .map(|c| (format!("{:?}", c.plan), c.sizes))
        .collect();
    assert_eq!(different.len(), 60);
    assert!(
        all[1..]
            .windows(2)
            .all(|w| w[0].predicted <= w[1].predicted)
    );
}

#[cfg(unix)]
#[test]
fn a_search_that_is_ended_from_outside_leaves_the_file_as_it_was() {
    let (folder, file) = (folder(), tuned());
    let search = ["tune", "op.attn", "--budget", "500", "--seq-len", "256"];
    for (signal, code) in [("-INT", Some(130)), ("-KILL", None)] {
        for before in [None, Some(file.text().expect("text"))] {
            let place = folder.path().join("op.tune.toml");
            match &before {
                Some(text) => fs::write(&place, text).expect("written"),
                None => drop(fs::remove_file(&place)),
            }
            let mut child = command(folder.path(), &search).spawn().expect("it runs");
            std::thread::sleep(Duration::from_millis(700));
            let sent = Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status();
            assert!(sent.expect("kill").success());
            assert_eq!(child.wait().expect("it ends").code(), code);
            assert_eq!(fs::read_to_string(&place).ok(), before);
            let left = names(folder.path()).len();
            assert_eq!(
                left,
                1 + usize::from(before.is_some()),
                "{:?}",
                names(folder.path())
            );
        }
    }
}

#[test]
fn every_target_that_runs_here_can_be_tuned_for() {
    let op = operator();
    for target in CpuTarget::ALL.into_iter().filter(|t| t.runs_here()) {
        let entry = tune(&op, target.name(), &options(4, 3.0), &|_| ()).expect("tunes");
        assert!(
            entry.candidates.iter().all(|c| c.outcome == Outcome::Right),
            "{entry:?}"
        );
    }
}

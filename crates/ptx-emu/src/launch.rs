// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Launch files of format `ptx-launch-1`. In: a path. Out: the launch with its buffers'
//! bytes, or what is malformed. Keys that the format does not name are ignored.

use crate::data::Dtype;
use attnc_ptx::emu::{Counters, ParamInfo};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Why the command fails.
#[derive(Debug)]
pub enum Problem {
    /// Exit code 2: unreadable or malformed.
    Input(String),
    /// Exit code 1: the kernel or the launch is wrong.
    Fault(String),
    /// Exit code 1: the kernel ran, but the results are wrong.
    Check(String, Box<Counters>),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Input(s) => write!(f, "input: {s}"),
            Self::Fault(s) => write!(f, "fault: {s}"),
            Self::Check(s, _) => write!(f, "check failed: {s}"),
        }
    }
}

/// Whether a kernel may write a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    In,
    Out,
    Inout,
}

/// What a buffer must hold in the end.
#[derive(Debug)]
pub(crate) struct Expect {
    pub(crate) dtype: Dtype,
    pub(crate) bytes: Vec<u8>,
    pub(crate) atol: f64,
    pub(crate) rtol: f64,
    pub(crate) rel_l2: Option<f64>,
}

/// A buffer with its initial bytes.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) role: Role,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expect: Option<Expect>,
}

/// An argument: bytes of a value, or a buffer with an offset.
#[derive(Debug)]
enum Arg {
    Pointer(Option<(usize, i64)>),
    Value(Vec<u8>),
}

/// A launch file.
#[derive(Debug)]
pub struct Launch {
    /// The module's file.
    pub ptx: PathBuf,
    pub(crate) target: String,
    pub(crate) entry: String,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) dynamic_shared: u32,
    pub(crate) buffers: Vec<Buffer>,
    args: Vec<Arg>,
}

#[derive(Deserialize)]
struct File {
    format: String,
    ptx: String,
    target: String,
    entry: String,
    grid: [u32; 3],
    block: [u32; 3],
    #[serde(default)]
    dynamic_shared: u32,
    args: Vec<ArgFile>,
    buffers: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct ArgFile {
    kind: String,
    #[serde(default)]
    buffer: Option<String>,
    #[serde(default)]
    offset: i64,
    #[serde(default)]
    value: Value,
}

#[derive(Deserialize)]
struct BufferFile {
    dtype: String,
    count: u64,
    #[serde(default)]
    shape: Option<Vec<u64>>,
    role: Role,
    init: InitFile,
    #[serde(default)]
    expect: Option<ExpectFile>,
}

#[derive(Deserialize)]
struct InitFile {
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    fill: Option<Value>,
}

#[derive(Deserialize)]
struct ExpectFile {
    file: String,
    dtype: String,
    atol: f64,
    rtol: f64,
    #[serde(default)]
    rel_l2: Option<f64>,
}

fn bad<T>(s: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Input(s.into()))
}

fn dtype(s: &str) -> Result<Dtype, Problem> {
    Dtype::from_name(s).map_or_else(|| bad(format!("unknown dtype `{s}`")), Ok)
}

fn load(dir: &Path, name: &str, bytes: u64) -> Result<Vec<u8>, Problem> {
    let p = dir.join(name);
    let b = std::fs::read(&p).map_err(|e| Problem::Input(format!("{}: {e}", p.display())))?;
    if b.len() as u64 != bytes {
        return bad(format!(
            "{}: {} bytes where the buffer has {bytes}",
            p.display(),
            b.len()
        ));
    }
    Ok(b)
}

fn buffer(dir: &Path, name: &str, v: &Value) -> Result<Buffer, Problem> {
    let f: BufferFile =
        BufferFile::deserialize(v).map_err(|e| Problem::Input(format!("buffer `{name}`: {e}")))?;
    let dt = dtype(&f.dtype)?;
    if let Some(s) = &f.shape
        && s.iter().try_fold(1u64, |a, b| a.checked_mul(*b)) != Some(f.count)
    {
        return bad(format!(
            "buffer `{name}`: the shape's product is not the count {}",
            f.count
        ));
    }
    let Some(size) = f
        .count
        .checked_mul(dt.size() as u64)
        .filter(|s| *s <= 1 << 36)
    else {
        return bad(format!("buffer `{name}`: {} elements", f.count));
    };
    let bytes = match (&f.init.file, &f.init.fill) {
        (Some(file), None) => load(dir, file, size)?,
        (None, Some(v)) => {
            let e = dt
                .encode(v)
                .map_err(|s| Problem::Input(format!("buffer `{name}`: fill: {s}")))?;
            e.repeat(f.count as usize)
        }
        (Some(_), Some(_)) | (None, None) => {
            return bad(format!(
                "buffer `{name}`: init needs either `file` or `fill`"
            ));
        }
    };
    let expect = match &f.expect {
        None => None,
        Some(_) if f.role == Role::In => {
            return bad(format!("buffer `{name}`: `expect` with role `in`"));
        }
        Some(e) => {
            let edt = dtype(&e.dtype)?;
            let good = |x: f64| x >= 0.0 && x.is_finite();
            if !good(e.atol) || !good(e.rtol) || e.rel_l2.is_some_and(|x| !good(x)) {
                return bad(format!(
                    "buffer `{name}`: tolerances are finite and not negative"
                ));
            }
            let bytes = load(dir, &e.file, f.count * edt.size() as u64)?;
            Some(Expect {
                dtype: edt,
                bytes,
                atol: e.atol,
                rtol: e.rtol,
                rel_l2: e.rel_l2,
            })
        }
    };
    Ok(Buffer {
        name: name.to_string(),
        dtype: dt,
        role: f.role,
        bytes,
        expect,
    })
}

/// Reads a launch file and the data it names.
pub fn read(path: &Path) -> Result<Launch, Problem> {
    let at = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| Problem::Input(format!("{at}: {e}")))?;
    let v: Value = serde_json::from_str(&text).map_err(|e| Problem::Input(format!("{at}: {e}")))?;
    match v.get("format").and_then(Value::as_str) {
        Some("ptx-launch-1") => {}
        Some(other) => {
            return bad(format!(
                "{at}: format `{other}`; this program reads `ptx-launch-1`"
            ));
        }
        None => return bad(format!("{at}: no `format`")),
    }
    let f: File = serde_json::from_value(v).map_err(|e| Problem::Input(format!("{at}: {e}")))?;
    debug_assert_eq!(f.format, "ptx-launch-1");
    let dir = path.parent().unwrap_or(Path::new(""));
    let buffers = f
        .buffers
        .iter()
        .map(|(n, b)| buffer(dir, n, b))
        .collect::<Result<Vec<_>, _>>()?;
    let mut args = Vec::new();
    for (k, a) in f.args.iter().enumerate() {
        args.push(if a.kind == "ptr" {
            match &a.buffer {
                None => Arg::Pointer(None),
                Some(n) => match buffers.iter().position(|b| b.name == *n) {
                    Some(b) => Arg::Pointer(Some((b, a.offset))),
                    None => return bad(format!("argument {k}: no buffer `{n}`")),
                },
            }
        } else {
            let Some(dt) = Dtype::from_name(&a.kind) else {
                return bad(format!("argument {k}: unknown kind `{}`", a.kind));
            };
            Arg::Value(
                dt.encode(&a.value)
                    .map_err(|s| Problem::Input(format!("argument {k}: {s}")))?,
            )
        });
    }
    Ok(Launch {
        ptx: dir.join(&f.ptx),
        target: f.target,
        entry: f.entry,
        grid: f.grid,
        block: f.block,
        dynamic_shared: f.dynamic_shared,
        buffers,
        args,
    })
}

/// The parameter bytes that the module's entry expects.
pub(crate) fn params(
    l: &Launch,
    info: &[ParamInfo],
    addresses: &[u64],
) -> Result<Vec<u8>, Problem> {
    if l.args.len() != info.len() {
        return Err(Problem::Fault(format!(
            "{} arguments for {} parameters of `{}`",
            l.args.len(),
            info.len(),
            l.entry
        )));
    }
    let mut out = vec![0u8; info.last().map_or(0, |p| (p.offset + p.size) as usize)];
    for (k, (a, p)) in l.args.iter().zip(info).enumerate() {
        let bytes = match a {
            Arg::Pointer(None) => 0u64.to_le_bytes().to_vec(),
            Arg::Pointer(Some((b, off))) => addresses[*b]
                .wrapping_add_signed(*off)
                .to_le_bytes()
                .to_vec(),
            Arg::Value(v) => v.clone(),
        };
        if bytes.len() != p.size as usize {
            return Err(Problem::Fault(format!(
                "argument {k} has {} bytes, the parameter {}",
                bytes.len(),
                p.size
            )));
        }
        out[p.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    Ok(out)
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The manifest of a build: what its files hold, for tools. Its form is `crates/attnc/schema/manifest.schema.json`.
//!
//! In: the files and operators of a group. Out: JSON, without times or paths.

use attnc_codegen_cpu::{ABI, CpuTarget, Declared, Level};
use attnc_spec::Operator;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ahead::BuiltFile;
use crate::pipeline::Plan;

/// The JSON Schema of manifests.
pub const MANIFEST_SCHEMA: &str = include_str!("../schema/manifest.schema.json");

const FORMAT: &str = "attnc-manifest";
const VERSION: u32 = 1;

/// Serialisation failed: a bug of ours.
#[derive(Debug, thiserror::Error)]
#[error("the manifest could not be written: {0}")]
pub struct ManifestError(#[from] serde_json::Error);

/// An object and what machines it is for.
pub(crate) struct Object<'a> {
    pub(crate) file: &'a BuiltFile,
    /// Each with the levels of the bodies that the object's operators have for it.
    pub(crate) targets: &'a [(CpuTarget, Vec<Level>)],
}

/// An operator of the object.
pub(crate) struct Entry<'a> {
    pub(crate) operator: &'a Operator,
    pub(crate) declared: &'a Declared,
    /// Bytes that a worker needs, by target.
    pub(crate) workspaces: &'a [(CpuTarget, usize)],
    /// How its branches are grouped, by target.
    pub(crate) plans: &'a [(CpuTarget, Plan)],
}

#[derive(Serialize)]
struct Manifest<'a> {
    format: &'static str,
    version: u32,
    attnc: &'static str,
    abi: u32,
    header: FileRow<'a>,
    object: ObjectRow<'a>,
    operators: Vec<OperatorRow<'a>>,
}

#[derive(Serialize)]
struct FileRow<'a> {
    file: &'a str,
    bytes: usize,
    sha256: String,
}

#[derive(Serialize)]
struct ObjectRow<'a> {
    #[serde(flatten)]
    file: FileRow<'a>,
    form: &'static str,
    family: &'static str,
    targets: Vec<TargetRow>,
}

#[derive(Serialize)]
struct TargetRow {
    target: &'static str,
    bodies: Vec<BodyRow>,
}

#[derive(Serialize)]
struct BodyRow {
    level: i64,
    needs: Vec<&'static str>,
}

#[derive(Serialize)]
struct OperatorRow<'a> {
    name: &'a str,
    hash: &'a str,
    symbols: Symbols,
    plan_bytes: usize,
    workspace_bytes: Vec<WorkspaceRow>,
    plans: Vec<PlanRow>,
    operator: Value,
}

#[derive(Serialize)]
struct Symbols {
    plan: String,
    workspace: String,
    run: String,
    forward: String,
    hash: String,
}

#[derive(Serialize)]
struct WorkspaceRow {
    target: &'static str,
    bytes: usize,
}

#[derive(Serialize)]
struct PlanRow {
    target: &'static str,
    plan: &'static str,
}

fn row(file: &BuiltFile) -> FileRow<'_> {
    let digest = Sha256::digest(&file.bytes);
    FileRow {
        file: &file.name,
        bytes: file.bytes.len(),
        sha256: digest.iter().map(|b| format!("{b:02x}")).collect(),
    }
}

/// The manifest as text.
pub(crate) fn manifest(
    header: &BuiltFile,
    object: &Object<'_>,
    entries: &[Entry<'_>],
) -> Result<String, ManifestError> {
    let targets = object.targets.iter().map(|(t, levels)| TargetRow {
        target: t.name(),
        bodies: levels
            .iter()
            .map(|l| BodyRow {
                level: l.number(),
                needs: l.needs().iter().map(|f| f.name()).collect(),
            })
            .collect(),
    });
    let operators = entries.iter().map(|e| {
        let symbol = |of: &str| format!("attnc_{}_{of}", e.operator.name);
        OperatorRow {
            name: &e.operator.name,
            hash: &e.declared.hash,
            symbols: Symbols {
                plan: symbol("plan"),
                workspace: symbol("workspace"),
                run: symbol("run"),
                forward: symbol("forward"),
                hash: symbol("hash"),
            },
            plan_bytes: e.declared.plan_bytes,
            workspace_bytes: (e.workspaces.iter())
                .map(|(t, bytes)| WorkspaceRow {
                    target: t.name(),
                    bytes: *bytes,
                })
                .collect(),
            plans: (e.plans.iter())
                .map(|(t, plan)| PlanRow {
                    target: t.name(),
                    plan: plan.name(),
                })
                .collect(),
            operator: e.operator.to_json(),
        }
    });
    let all = Manifest {
        format: FORMAT,
        version: VERSION,
        attnc: env!("CARGO_PKG_VERSION"),
        abi: ABI,
        header: row(header),
        object: ObjectRow {
            file: row(object.file),
            form: "elf",
            family: object
                .targets
                .first()
                .map_or("", |(t, _)| t.family().name()),
            targets: targets.collect(),
        },
        operators: operators.collect(),
    };
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which machine measurements are of.
//!
//! In: the machine. Out: its processor's name, cores and features, as they stand in a tune file.

use attnc_codegen_cpu::Features;
use attnc_runtime::machine::cpu_model;
use serde::{Deserialize, Serialize};

/// A machine by what decides how fast a kernel is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineId {
    /// The processor's own name.
    pub cpu: String,
    /// Threads that it runs at once, as far as this process may use them.
    pub cores: u64,
    /// What it has beyond its family's baseline, of what targets need.
    pub features: Vec<String>,
}

impl MachineId {
    /// This machine.
    pub fn here() -> MachineId {
        MachineId {
            cpu: cpu_model(),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            features: (Features::here().iter())
                .map(|f| f.name().to_owned())
                .collect(),
        }
    }
}

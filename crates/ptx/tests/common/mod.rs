// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the tests share: running PTX text on buffers, and NVIDIA's assembler as a second
//! opinion on every text where it is installed.
#![allow(dead_code, unreachable_pub)]

mod ptxas;
#[allow(unused_imports)] // Each test file takes what it needs.
pub use ptxas::{assemble, assembles, ptxas};

use attnc_ptx::emu::{Counters, FaultKind, Launch, LaunchError, Memory, Options, Program};

/// One launch over byte buffers; parameters are the buffers' addresses, then numbers.
pub struct Run<'a> {
    pub text: &'a str,
    pub grid: u32,
    pub block: u32,
    pub shared: u32,
    pub buffers: Vec<Vec<u8>>,
    pub numbers: Vec<u64>,
    pub options: Options,
    /// Whether NVIDIA's assembler must accept the text too.
    pub assembles: bool,
}

pub fn options(seed: u64) -> Options {
    Options {
        races: true,
        counters: true,
        seed,
        threads: 2,
        budget: 20_000_000,
    }
}

impl<'a> Run<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            grid: 1,
            block: 32,
            shared: 0,
            buffers: vec![],
            numbers: vec![],
            options: options(0),
            assembles: true,
        }
    }

    pub fn block(mut self, n: u32) -> Self {
        self.block = n;
        self
    }

    pub fn grid(mut self, n: u32) -> Self {
        self.grid = n;
        self
    }

    pub fn shared(mut self, n: u32) -> Self {
        self.shared = n;
        self
    }

    pub fn words(mut self, w: &[u32]) -> Self {
        self.buffers
            .push(w.iter().flat_map(|x| x.to_le_bytes()).collect());
        self
    }

    pub fn bytes(mut self, b: &[u8]) -> Self {
        self.buffers.push(b.to_vec());
        self
    }

    pub fn seed(mut self, s: u64) -> Self {
        self.options.seed = s;
        self
    }

    pub fn races(mut self, yes: bool) -> Self {
        self.options.races = yes;
        self
    }

    /// Runs; the buffers hold the results.
    pub fn go(&mut self) -> Result<Counters, LaunchError> {
        let m = attnc_ptx::parse(self.text).unwrap_or_else(|e| panic!("{e}\n{}", self.text));
        assert!(
            attnc_ptx::parse(&attnc_ptx::print(&m)).as_ref() == Ok(&m),
            "printing changes the module"
        );
        let broken = attnc_ptx::verify(&m);
        assert!(broken.is_empty(), "{}\n{}", broken[0], self.text);
        if self.assembles {
            assemble(self.text);
        }
        let entry = m
            .functions()
            .find(|f| f.entry)
            .expect("an entry")
            .name
            .to_string();
        let mut memory = Memory::new();
        let p = Program::load(m, &mut memory);
        let mut params = Vec::new();
        let mut at = Vec::new();
        for b in &self.buffers {
            let a = memory.alloc(b.len() as u64);
            memory.write(a, b).expect("fits");
            at.push(a);
            params.extend_from_slice(&a.to_le_bytes());
        }
        for n in &self.numbers {
            params.extend_from_slice(&n.to_le_bytes());
        }
        let l = Launch {
            entry: &entry,
            grid: [self.grid, 1, 1],
            block: [self.block, 1, 1],
            dynamic_shared: self.shared,
            params: &params,
        };
        let r = p.launch(&memory, &l, &self.options);
        for (b, a) in self.buffers.iter_mut().zip(at) {
            *b = memory.read(a, b.len() as u64).expect("still there");
        }
        r
    }

    /// Runs and returns a buffer as words.
    pub fn result(&mut self, buffer: usize) -> Vec<u32> {
        if let Err(e) = self.go() {
            panic!("{e}\n{}", self.text);
        }
        words(&self.buffers[buffer])
    }

    /// Runs and returns the fault.
    pub fn fault(&mut self) -> FaultKind {
        match self.go() {
            Err(LaunchError::Fault(f)) => f.kind,
            other => panic!("expected a fault, got {other:?}\n{}", self.text),
        }
    }
}

pub fn words(b: &[u8]) -> Vec<u32> {
    b.chunks_exact(4)
        .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
        .collect()
}

/// A kernel with pointers `p0`, `p1`, ... as parameters, loaded into `%p0`, `%p1`, ... and
/// the thread number in `%tid`.
pub fn kernel(target: &str, version: &str, pointers: usize, decls: &str, body: &str) -> String {
    let params: Vec<String> = (0..pointers).map(|k| format!(".param .u64 q{k}")).collect();
    let loads: String = (0..pointers)
        .map(|k| format!("  ld.param.u64 %p{k}, [q{k}];\n"))
        .collect();
    format!(
        ".version {version}\n.target {target}\n.address_size 64\n{decls}\n.visible .entry k({}) {{\n\
         .reg .pred %q<32>;\n.reg .b16 %h<64>;\n.reg .b32 %r<128>;\n.reg .f32 %f<64>;\n.reg .b64 %d<64>;\n.reg .f64 %e<32>;\n.reg .b64 %p<8>;\n.reg .b32 %t;\n\
         {loads}  mov.u32 %t, %tid.x;\n{body}\n  ret;\n}}\n",
        params.join(", ")
    )
}

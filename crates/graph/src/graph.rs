// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The graph: operations in topological order, with the facts that hold for all of them.
//!
//! In: operations whose operands are already there. Out: nodes by number; petgraph stays inside.

use attnc_spec::{Gradient, Offsets, Operator, Precision, Profile, Ragged, Rows, ZeroLse};
use attnc_tensor::DType;
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::{Deserialize, Serialize};

use crate::op::{Op, Type};

/// A node of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeRef(pub u32);

/// Which stage of the compiler a graph belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As lowered; rewriting comes next.
    Graph,
    /// As rewritten; the schedule takes it as it stands.
    Fused,
}

impl Form {
    /// The word in text forms.
    pub fn name(self) -> &'static str {
        match self {
            Form::Graph => "graph",
            Form::Fused => "fused",
        }
    }
}

/// What holds for the whole graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Its stage.
    pub form: Form,
    /// Operator name.
    pub name: String,
    /// Query heads H.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Head dimension D.
    pub head_dim: u32,
    /// Storage dtype.
    pub dtype: DType,
    /// Accuracy opt-ins.
    pub precision: Precision,
    /// Keys behind a query are hidden.
    pub causal: bool,
    /// The switches.
    pub profile: Profile,
}

impl Header {
    /// The header of an operator's graphs.
    pub fn of(op: &Operator) -> Header {
        Header {
            form: Form::Graph,
            name: op.name.clone(),
            heads: op.heads,
            kv_heads: op.kv_heads,
            head_dim: op.head_dim,
            dtype: op.dtype,
            precision: op.precision,
            causal: op.causal,
            profile: op.profile,
        }
    }

    /// Whether the numbers are within the limits of the language.
    ///
    /// # Errors
    /// [`GraphError::Header`] with the field that is not.
    pub fn check(&self) -> Result<(), GraphError> {
        if !(1..=4096).contains(&self.heads) {
            return Err(GraphError::Header("heads"));
        }
        if self.kv_heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            return Err(GraphError::Header("kv_heads"));
        }
        if !(1..=256).contains(&self.head_dim) {
            return Err(GraphError::Header("head_dim"));
        }
        Ok(())
    }

    /// `(name, value)` of every field but the name, as text forms show them.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let p = &self.profile;
        vec![
            ("heads", self.heads.to_string()),
            ("kv_heads", self.kv_heads.to_string()),
            ("head_dim", self.head_dim.to_string()),
            ("dtype", self.dtype.to_string()),
            (
                "precision",
                match self.precision {
                    Precision::Standard => "standard",
                    Precision::Fast => "fast",
                    Precision::Tf32 => "tf32",
                }
                .to_string(),
            ),
            ("causal", self.causal.to_string()),
            (
                "offsets",
                if p.offsets == Offsets::Modulo {
                    "modulo"
                } else {
                    "blocked"
                }
                .to_string(),
            ),
            (
                "ragged",
                if p.ragged == Ragged::Masked {
                    "masked"
                } else {
                    "zero_keys"
                }
                .to_string(),
            ),
            (
                "rows",
                if p.rows == Rows::Aligned {
                    "aligned"
                } else {
                    "displaced"
                }
                .to_string(),
            ),
            (
                "gradient",
                if p.gradient == Gradient::Exact {
                    "exact"
                } else {
                    "detached"
                }
                .to_string(),
            ),
            (
                "zero_lse",
                if p.zero_lse == ZeroLse::Covered {
                    "covered"
                } else {
                    "uncovered"
                }
                .to_string(),
            ),
        ]
    }
}

/// Why an operation cannot stand in a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An operand does not exist yet.
    #[error("G01: operand %{0} is not defined before its use")]
    Operand(u32),
    /// Wrong number or types of operands.
    #[error("G02: {op} takes other operands than {found:?}")]
    Operands {
        /// The operation.
        op: String,
        /// What it was given.
        found: Vec<Type>,
    },
    /// A bag without terms, or with a weight of 0, or out of order.
    #[error("G03: the terms of once are at least one, sorted, with weights of at least 1")]
    Terms,
    /// An operation that the profile forbids.
    #[error("G04: {op} needs {needs}")]
    Profile {
        /// The operation.
        op: String,
        /// The switch it needs.
        needs: &'static str,
    },
    /// No output, or more than one.
    #[error("G05: a graph has exactly one output, and it is its last node")]
    Output,
    /// A factor that is not a positive finite number.
    #[error("G06: a scale is a positive number within the range of f32")]
    Scale,
    /// A header field outside its limits.
    #[error(
        "G07: `{0}` is outside its limits (heads 1..=4096, kv_heads divides heads, head_dim 1..=256)"
    )]
    Header(&'static str),
    /// A branch outside its limits.
    #[error("G08: segment and dilation of {0} are within 1..=2^40")]
    Branch(String),
}

/// A directed acyclic graph of operations.
#[derive(Clone, Debug)]
pub struct OpGraph {
    header: Header,
    graph: DiGraph<(Op, Type), u32>,
}

impl OpGraph {
    /// An empty graph.
    pub fn new(header: Header) -> OpGraph {
        OpGraph {
            header,
            graph: DiGraph::new(),
        }
    }

    /// What holds for the whole graph.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Adds an operation behind its operands.
    ///
    /// # Errors
    /// The rule of the verifier that the operation breaks.
    pub fn add(&mut self, op: Op, operands: &[NodeRef]) -> Result<NodeRef, GraphError> {
        for o in operands {
            if o.0 as usize >= self.graph.node_count() {
                return Err(GraphError::Operand(o.0));
            }
        }
        let types: Vec<Type> = operands.iter().map(|o| self.ty(*o)).collect();
        let ty = crate::verify::infer(&self.header, &op, &types)?;
        let node = self.graph.add_node((op, ty));
        for (i, o) in operands.iter().enumerate() {
            self.graph
                .add_edge(NodeIndex::new(o.0 as usize), node, i as u32);
        }
        Ok(NodeRef(node.index() as u32))
    }

    /// The nodes, in topological order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeRef> + use<> {
        (0..self.graph.node_count() as u32).map(NodeRef)
    }

    /// The operation of a node.
    pub fn op(&self, n: NodeRef) -> &Op {
        &self.graph[NodeIndex::new(n.0 as usize)].0
    }

    /// The type of a node's value.
    pub fn ty(&self, n: NodeRef) -> Type {
        self.graph[NodeIndex::new(n.0 as usize)].1
    }

    /// The operands of a node, in order.
    pub fn operands(&self, n: NodeRef) -> Vec<NodeRef> {
        let mut edges: Vec<(u32, NodeRef)> = self
            .graph
            .edges_directed(NodeIndex::new(n.0 as usize), Direction::Incoming)
            .map(|e| (*e.weight(), NodeRef(e.source().index() as u32)))
            .collect();
        edges.sort_unstable();
        edges.into_iter().map(|(_, n)| n).collect()
    }

    /// The output node.
    ///
    /// # Errors
    /// When there is none, or it is not the last and only one.
    pub fn output(&self) -> Result<NodeRef, GraphError> {
        let outputs: Vec<NodeRef> = self
            .nodes()
            .filter(|n| *self.op(*n) == Op::Output)
            .collect();
        match outputs[..] {
            [n] if n.0 as usize + 1 == self.graph.node_count() => Ok(n),
            _ => Err(GraphError::Output),
        }
    }
}

impl PartialEq for OpGraph {
    fn eq(&self, other: &OpGraph) -> bool {
        self.header == other.header
            && self.graph.node_count() == other.graph.node_count()
            && self
                .nodes()
                .all(|n| self.op(n) == other.op(n) && self.operands(n) == other.operands(n))
    }
}

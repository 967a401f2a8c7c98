// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interpreter of the graph as a backend: what the fused graph means, operation by operation, in float64.
//!
//! In: a graph. Out: an engine that serves every B and N. Slow: for small sizes and for trust.

use attnc_graph::OpGraph;

use crate::call::Call;
use crate::engine::{Engine, EngineError, Executed};
use crate::signature::Signature;
use crate::views::copy_into;

/// The interpreter of one graph.
#[derive(Debug)]
pub(crate) struct GraphEngine {
    signature: Signature,
    graph: OpGraph,
}

impl GraphEngine {
    pub(crate) fn new(graph: OpGraph) -> GraphEngine {
        GraphEngine {
            signature: Signature::from(graph.header()),
            graph,
        }
    }
}

impl Engine for GraphEngine {
    fn target(&self) -> &str {
        "none"
    }
    fn kernel(&self) -> &str {
        self.graph.header().form.name()
    }
    fn forward(&self, mut call: Call<'_>) -> Result<Executed, EngineError> {
        call.check(&self.signature)?;
        let got = attnc_interp::graph::run(&self.graph, &call.q, &call.k, &call.v)?;
        copy_into(&mut call.out, &got.out);
        if let Some(lse) = &mut call.lse {
            copy_into(lse, &got.lse);
        }
        call.tell(call.rows());
        Ok(Executed::default())
    }
}

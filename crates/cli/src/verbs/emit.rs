// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc emit`: print one stage of the compiler.

use std::path::PathBuf;

use attnc::pipeline::{self, Choices};
use attnc_diag::SourceMap;
use attnc_graph::OpGraph;

use crate::args::CompileArgs;
use crate::choices::{choices, tuned};
use crate::context::Context;
use crate::failure::Failure;
use crate::loader::read_named;
use crate::output;

/// Print one stage of the compiler.
#[derive(Debug, clap::Args)]
pub(crate) struct EmitArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The stage to print.
    #[arg(long, value_enum)]
    pub(crate) stage: Stage,
    /// Where to write it (default: standard output).
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// The form, where a stage has several.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    /// Write PTX, launch file and data to a folder, for replay (stage ptx).
    #[arg(long, value_name = "DIR")]
    pub(crate) launch: Option<PathBuf>,
}

/// The stages, in the order of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Stage {
    /// The syntax tree.
    Ast,
    /// The checked operator.
    Spec,
    /// The operator graph as written.
    Graph,
    /// The graph after rewriting.
    Fused,
    /// The tile program.
    Tile,
    /// Cranelift's intermediate form.
    Clif,
    /// The machine code, disassembled.
    Asm,
    /// PTX.
    Ptx,
}

impl Stage {
    /// The name as written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stage::Ast => "ast",
            Stage::Spec => "spec",
            Stage::Graph => "graph",
            Stage::Fused => "fused",
            Stage::Tile => "tile",
            Stage::Clif => "clif",
            Stage::Asm => "asm",
            Stage::Ptx => "ptx",
        }
    }
}

/// The forms of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// To read, and to parse again.
    Text,
    /// For tools.
    Json,
    /// For Graphviz.
    Dot,
}

/// Prints the stage.
pub(crate) fn run(args: &EmitArgs, context: &Context) -> Result<(), Failure> {
    if args.launch.is_some() && args.stage != Stage::Ptx {
        return Err(Failure::Usage("--launch goes with --stage ptx".to_owned()));
    }
    let text = match args.stage {
        Stage::Ast => ast(args, context)?,
        Stage::Spec => spec(args, context)?,
        Stage::Graph | Stage::Fused | Stage::Tile => compiled(args, context)?,
        Stage::Clif | Stage::Asm => machine(args, context)?,
        Stage::Ptx => {
            return Err(Failure::NotBuiltYet(format!(
                "attnc emit --stage {}",
                args.stage.name()
            )));
        }
    };
    match &args.output {
        Some(path) => output::write(path, text.as_bytes()),
        None => context.print(&text),
    }
}

fn no_dot(stage: Stage) -> Failure {
    Failure::Usage(format!(
        "the stage {} has no form dot; it has text and json",
        stage.name()
    ))
}

/// The stages between the operator and the code generator.
fn compiled(args: &EmitArgs, context: &Context) -> Result<String, Failure> {
    if args.format != Format::Text && args.stage == Stage::Tile {
        return Err(Failure::Usage(
            "the stage tile has one form, text".to_owned(),
        ));
    }
    let choices = choices(&args.compile)?;
    let operator = context.operator(&args.file)?;
    let graph = pipeline::graph(&operator)?;
    if args.stage != Stage::Graph {
        let choices = tuned(context, &args.compile, &args.file, &operator, choices)?;
        return fused(args, &graph, &choices);
    }
    printed(args, &graph)
}

/// The stages from rewriting on.
fn fused(args: &EmitArgs, graph: &OpGraph, choices: &Choices) -> Result<String, Failure> {
    let graph = pipeline::fuse(graph, choices)?.graph;
    match args.stage {
        Stage::Tile => Ok(attnc_tile::print(&pipeline::tile(&graph, choices)?)),
        _ => printed(args, &graph),
    }
}

fn printed(args: &EmitArgs, graph: &OpGraph) -> Result<String, Failure> {
    Ok(match args.format {
        Format::Text => attnc_graph::print(graph),
        Format::Json => attnc_graph::to_json(graph)?,
        Format::Dot => attnc_graph::dot(graph),
    })
}

/// The stages of the code generator.
fn machine(args: &EmitArgs, context: &Context) -> Result<String, Failure> {
    if args.format != Format::Text {
        return Err(Failure::Usage(format!(
            "the stage {} has one form, text",
            args.stage.name()
        )));
    }
    let choices = choices(&args.compile)?;
    let operator = context.operator(&args.file)?;
    let choices = tuned(context, &args.compile, &args.file, &operator, choices)?;
    let fused = pipeline::fuse(&pipeline::graph(&operator)?, &choices)?.graph;
    // A target may have a program more for some machines: bf16 on x86_64-v4, where there is AVX512-BF16.
    let mut texts = Vec::new();
    for core in pipeline::tiles(&fused, &choices)? {
        texts.push(if args.stage == Stage::Clif {
            pipeline::clif(&core)?
        } else {
            attnc::asm(&pipeline::machine(&core)?)?
        });
    }
    Ok(texts.join("\n"))
}

/// The syntax tree of the file; names need not be right, words must.
fn ast(args: &EmitArgs, context: &Context) -> Result<String, Failure> {
    if args.format == Format::Dot {
        return Err(no_dot(args.stage));
    }
    let mut sources = SourceMap::new();
    let loaded = read_named(&args.file);
    let Ok(loaded) = loaded else {
        // Reports why it cannot be read.
        context.resolve(std::slice::from_ref(&args.file))?;
        return Ok(String::new());
    };
    let id = sources.add(loaded.name, loaded.bytes);
    let Some(source) = sources.get(id) else {
        return Ok(String::new());
    };
    let parsed = attnc_syntax::parse(id, source);
    context.print_diagnostics(&parsed.diagnostics, &sources)?;
    Ok(match args.format {
        Format::Json => format!("{:#}\n", attnc_syntax::dump_json(&parsed.file)),
        Format::Text | Format::Dot => attnc_syntax::dump_text(&parsed.file, true),
    })
}

/// The checked operator: text that can be run again, or JSON.
fn spec(args: &EmitArgs, context: &Context) -> Result<String, Failure> {
    if args.format == Format::Dot {
        return Err(no_dot(args.stage));
    }
    let operator = context.operator(&args.file)?;
    Ok(match args.format {
        Format::Json => format!("{:#}\n", operator.to_json()),
        Format::Text | Format::Dot => operator.to_attn(),
    })
}

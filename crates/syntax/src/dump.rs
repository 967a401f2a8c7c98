// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The syntax tree as text and as JSON, for `emit --stage ast`.
//!
//! Text: one node a line, indented by depth, with its bytes; without spans it is the form in which two trees are compared.

use attnc_diag::Span;
use serde_json::{Value, json};

use crate::ast::{Attention, BlockItem, Branch, Expr, ExprKind, Field, File, For, Item, Let, Over};

/// The tree, one node a line. `spans`: with the bytes of each node.
pub fn dump_text(file: &File, spans: bool) -> String {
    let mut dump = Dump {
        out: String::new(),
        spans,
    };
    dump.line(0, "file", None);
    if let Some(edition) = &file.edition {
        dump.line(
            1,
            &format!("edition {}", edition.number),
            Some(edition.span),
        );
    }
    for item in &file.items {
        match item {
            Item::Use(item) => dump.line(1, &format!("use {:?}", item.path), Some(item.span)),
            Item::Let(item) => dump.let_item(1, item),
            Item::Attention(item) => dump.attention(1, item),
        }
    }
    dump.out
}

struct Dump {
    out: String,
    spans: bool,
}

impl Dump {
    fn line(&mut self, depth: usize, text: &str, span: Option<Span>) {
        self.out.push_str(&"  ".repeat(depth));
        self.out.push_str(text);
        if let (true, Some(span)) = (self.spans, span) {
            self.out
                .push_str(&format!("  @{}..{}", span.start, span.end));
        }
        self.out.push('\n');
    }

    fn let_item(&mut self, depth: usize, item: &Let) {
        self.line(
            depth,
            &format!("let {}", item.name.name),
            Some(item.name.span),
        );
        self.expr(depth + 1, &item.value);
    }

    fn attention(&mut self, depth: usize, item: &Attention) {
        self.line(
            depth,
            &format!("attention {}", item.name.name),
            Some(item.name.span),
        );
        if let Some(base) = &item.base {
            self.line(depth + 1, &format!("with {}", base.name), Some(base.span));
        }
        self.block(depth + 1, &item.block);
    }

    fn block(&mut self, depth: usize, items: &[BlockItem]) {
        for item in items {
            match item {
                BlockItem::Field(field) => self.field(depth, field),
                BlockItem::Branch(branch) => self.branch(depth, branch),
                BlockItem::For(item) => self.for_item(depth, item),
                BlockItem::Let(item) => self.let_item(depth, item),
            }
        }
    }

    fn field(&mut self, depth: usize, field: &Field) {
        self.line(
            depth,
            &format!("field {}", field.name.name),
            Some(field.name.span),
        );
        self.expr(depth + 1, &field.value);
    }

    fn branch(&mut self, depth: usize, branch: &Branch) {
        self.line(depth, "branch", Some(branch.span));
        for field in &branch.fields {
            self.field(depth + 1, field);
        }
    }

    fn for_item(&mut self, depth: usize, item: &For) {
        self.line(
            depth,
            &format!("for {}", item.variable.name),
            Some(item.span),
        );
        match &item.over {
            Over::Range(a, b) => {
                self.line(depth + 1, "range", Some(item.over.span()));
                self.expr(depth + 2, a);
                self.expr(depth + 2, b);
            }
            Over::List(list) => self.expr(depth + 1, list),
        }
        self.line(depth + 1, "do", None);
        self.block(depth + 2, &item.body);
    }

    fn expr(&mut self, depth: usize, expr: &Expr) {
        let span = Some(expr.span);
        match &expr.kind {
            ExprKind::Error => self.line(depth, "error", span),
            ExprKind::Int(value) => self.line(depth, &format!("int {value}"), span),
            ExprKind::Float(value) => self.line(depth, &format!("float {value:?}"), span),
            ExprKind::Name(name) => self.line(depth, &format!("name {name}"), span),
            ExprKind::List(elements) => {
                self.line(depth, "list", span);
                elements.iter().for_each(|e| self.expr(depth + 1, e));
            }
            ExprKind::Call(name, arguments) => {
                self.line(depth, &format!("call {}", name.name), span);
                arguments.iter().for_each(|e| self.expr(depth + 1, e));
            }
            ExprKind::Index(list, index) => {
                self.line(depth, "index", span);
                self.expr(depth + 1, list);
                self.expr(depth + 1, index);
            }
            ExprKind::Paren(inner) => {
                self.line(depth, "paren", span);
                self.expr(depth + 1, inner);
            }
            ExprKind::Neg(inner) => {
                self.line(depth, "neg", span);
                self.expr(depth + 1, inner);
            }
            ExprKind::Pow(base, exponent) => {
                self.line(depth, "pow", span);
                self.expr(depth + 1, base);
                self.expr(depth + 1, exponent);
            }
            ExprKind::Chain(first, steps) => {
                self.line(depth, "chain", span);
                self.expr(depth + 1, first);
                for (op, operand) in steps {
                    self.line(depth + 1, op.symbol(), None);
                    self.expr(depth + 1, operand);
                }
            }
        }
    }
}

/// The tree as JSON: `{"format": "attnc-ast", "version": 1, "edition": ..., "items": [...]}`; a node has its `kind` and its `span`
/// (first byte, one past the last).
pub fn dump_json(file: &File) -> Value {
    let items: Vec<Value> = file
        .items
        .iter()
        .map(|item| match item {
            Item::Use(item) => json!({ "kind": "use", "span": span(item.span), "path": item.path }),
            Item::Let(item) => let_json(item),
            Item::Attention(item) => json!({
                "kind": "attention",
                "name": item.name.name,
                "span": span(item.name.span),
                "with": item.base.as_ref().map(|base| json!({ "name": base.name, "span": span(base.span) })),
                "block": block_json(&item.block),
            }),
        })
        .collect();
    json!({
        "format": "attnc-ast",
        "version": 1,
        "edition": file.edition.as_ref().map(|edition| edition.number),
        "items": items,
    })
}

fn span(span: Span) -> Value {
    json!([span.start, span.end])
}

fn let_json(item: &Let) -> Value {
    json!({ "kind": "let", "name": item.name.name, "span": span(item.name.span), "value": expr_json(&item.value) })
}

fn field_json(field: &Field) -> Value {
    json!({ "kind": "field", "name": field.name.name, "span": span(field.name.span), "value": expr_json(&field.value) })
}

fn block_json(items: &[BlockItem]) -> Vec<Value> {
    items
        .iter()
        .map(|item| match item {
            BlockItem::Field(field) => field_json(field),
            BlockItem::Branch(branch) => json!({
                "kind": "branch",
                "span": span(branch.span),
                "fields": branch.fields.iter().map(field_json).collect::<Vec<_>>(),
            }),
            BlockItem::For(item) => json!({
                "kind": "for",
                "variable": item.variable.name,
                "span": span(item.span),
                "over": match &item.over {
                    Over::Range(a, b) => json!({ "kind": "range", "from": expr_json(a), "to": expr_json(b) }),
                    Over::List(list) => expr_json(list),
                },
                "body": block_json(&item.body),
            }),
            BlockItem::Let(item) => let_json(item),
        })
        .collect()
}

fn expr_json(expr: &Expr) -> Value {
    let mut value = match &expr.kind {
        ExprKind::Error => json!({ "kind": "error" }),
        ExprKind::Int(value) => json!({ "kind": "int", "value": value }),
        ExprKind::Float(value) => json!({ "kind": "float", "value": value }),
        ExprKind::Name(name) => json!({ "kind": "name", "name": name }),
        ExprKind::List(elements) => json!({ "kind": "list", "elements": list_json(elements) }),
        ExprKind::Call(name, arguments) => {
            json!({ "kind": "call", "function": name.name, "arguments": list_json(arguments) })
        }
        ExprKind::Index(list, index) => {
            json!({ "kind": "index", "list": expr_json(list), "index": expr_json(index) })
        }
        ExprKind::Paren(inner) => json!({ "kind": "paren", "inner": expr_json(inner) }),
        ExprKind::Neg(inner) => json!({ "kind": "neg", "inner": expr_json(inner) }),
        ExprKind::Pow(base, exponent) => {
            json!({ "kind": "pow", "base": expr_json(base), "exponent": expr_json(exponent) })
        }
        ExprKind::Chain(first, steps) => {
            let steps: Vec<Value> = steps
                .iter()
                .map(|(op, operand)| json!({ "op": op.symbol(), "operand": expr_json(operand) }))
                .collect();
            json!({ "kind": "chain", "first": expr_json(first), "steps": steps })
        }
    };
    value["span"] = span(expr.span);
    value
}

fn list_json(list: &[Expr]) -> Vec<Value> {
    list.iter().map(expr_json).collect()
}

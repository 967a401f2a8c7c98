// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Blocks: fields, branches and loops, and what is reported where one stands in the wrong place.

use attnc_diag::{Code, Diagnostic};

use super::Parser;
use crate::ast::{BlockItem, Branch, Field, For, Over};
use crate::limits::MAX_DEPTH;
use crate::token::{Keyword, Kind, Token};

/// What a block is the inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    Attention,
    Branch,
    For,
}

impl Inside {
    fn name(self) -> &'static str {
        match self {
            Inside::Attention => "an attention",
            Inside::Branch => "a branch",
            Inside::For => "a `for`",
        }
    }

    fn takes(self) -> &'static str {
        match self {
            Inside::Attention => "a field, `branch`, `for`, `let` or `}`",
            Inside::Branch => "a field or `}`",
            Inside::For => "`branch`, `for`, `let` or `}`",
        }
    }
}

impl Parser<'_> {
    /// `{ items }`, from the brace on.
    pub(super) fn block(&mut self, inside: Inside) -> Vec<BlockItem> {
        let open = self.bump();
        let mut items = Vec::new();
        self.block_depth += 1;
        if self.block_depth > MAX_DEPTH {
            self.too_deep("blocks");
            self.skip_block();
        } else {
            self.block_items(open, inside, &mut items);
        }
        self.block_depth -= 1;
        self.close(open, Kind::RBrace, "}");
        items
    }

    /// Skips to the brace that closes the present block.
    fn skip_block(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.kind() {
                Kind::Eof => break,
                Kind::LBrace => depth += 1,
                Kind::RBrace if depth == 0 => break,
                Kind::RBrace => depth -= 1,
                _ => {}
            }
            self.bump();
        }
        self.blamed = Some(self.at);
    }

    fn block_items(&mut self, open: Token, inside: Inside, items: &mut Vec<BlockItem>) {
        loop {
            let field_before = matches!(items.last(), Some(BlockItem::Field(_)));
            match self.kind() {
                Kind::RBrace | Kind::Eof => return,
                Kind::Keyword(Keyword::Attention | Keyword::Edition) => return,
                // Its brace was forgotten; `close` says so.
                Kind::Keyword(Keyword::Use) if self.kind_after(1) != Kind::Str => return,
                Kind::Keyword(Keyword::Use) => {
                    self.item_out_of_place("`use`", inside, "`use` stands at the top level");
                    self.use_item();
                }
                // The brace of the branch before was forgotten; `close` says so.
                Kind::Keyword(Keyword::Branch | Keyword::For | Keyword::Let)
                    if inside == Inside::Branch && self.is_dedented(open) =>
                {
                    return;
                }
                Kind::Keyword(Keyword::Branch) => {
                    if inside == Inside::Branch {
                        self.item_out_of_place(
                            "a branch",
                            inside,
                            "close the branch before with `}`",
                        );
                    }
                    items.extend(self.branch().map(BlockItem::Branch));
                }
                Kind::Keyword(Keyword::For) => {
                    if inside == Inside::Branch {
                        self.item_out_of_place(
                            "`for`",
                            inside,
                            "write the `for` around the branch",
                        );
                    }
                    items.extend(self.for_item().map(BlockItem::For));
                }
                Kind::Keyword(Keyword::Let) => {
                    if inside == Inside::Branch {
                        self.item_out_of_place(
                            "`let`",
                            inside,
                            "write the `let` before the branch",
                        );
                    }
                    items.extend(self.let_item(Self::skip_in_block).map(BlockItem::Let));
                }
                Kind::Keyword(Keyword::In | Keyword::With) if self.kind_after(1) != Kind::Eq => {
                    self.unexpected(inside.takes(), None);
                    self.bump();
                    self.skip_in_block();
                }
                Kind::Ident | Kind::Keyword(_)
                    if self.kind_after(1) == Kind::Eq && inside == Inside::For =>
                {
                    self.field_out_of_place(
                        "in a `for`",
                        "move it out of the `for`, or into the braces of the branch",
                    );
                }
                Kind::Ident | Kind::Keyword(_) => self.field_or_wrong(inside, field_before, items),
                _ => {
                    let help = match self.kind() {
                        Kind::Comma => Some(
                            "one comma is enough, and none stands before the first item".to_owned(),
                        ),
                        _ => None,
                    };
                    self.unexpected(inside.takes(), help);
                    self.bump();
                    self.skip_in_block();
                }
            }
            self.comma_after_item();
        }
    }

    fn field_or_wrong(&mut self, inside: Inside, field_before: bool, items: &mut Vec<BlockItem>) {
        let token = self.token();
        let near = self.near_keyword(&["branch", "for", "let"]);
        let as_keyword = match near {
            Some("branch") => self.kind_after(1) == Kind::LBrace,
            Some("for") => self.kind_after(2) == Kind::Keyword(Keyword::In),
            Some("let") => self.kind_after(1) == Kind::Ident && self.kind_after(2) == Kind::Eq,
            _ => false,
        };
        if let (Some(name), true) = (near, as_keyword) {
            self.unexpected(inside.takes(), Some(format!("did you mean `{name}`?")));
            match name {
                "branch" => items.extend(self.branch().map(BlockItem::Branch)),
                "for" => items.extend(self.for_item().map(BlockItem::For)),
                _ => items.extend(self.let_item(Self::skip_in_block).map(BlockItem::Let)),
            }
            return;
        }
        // `heads 12` lacks its `=`; anything else behind a name is no field.
        let next = self.tokens.get(self.at + 1).copied().unwrap_or(token);
        let value_follows = next.newlines == 0
            && matches!(
                next.kind,
                Kind::Int(_)
                    | Kind::Float(_)
                    | Kind::BadNumber
                    | Kind::Ident
                    | Kind::LBracket
                    | Kind::LParen
                    | Kind::Minus
            );
        if next.kind != Kind::Eq && !(value_follows && inside != Inside::For) {
            let known = token.kind == Kind::Ident && self.kind_after(1) == Kind::RBrace;
            self.at += 1;
            self.unexpected(
                "`=`",
                known.then(|| "a field is written `name = value`".to_owned()),
            );
            if self.kind() != Kind::RBrace {
                self.skip_in_block();
            }
            return;
        }
        let comma_missing = field_before
            && token.newlines == 0
            && self
                .at
                .checked_sub(1)
                .is_some_and(|last| self.tokens[last].kind != Kind::Comma);
        if comma_missing && self.is_news() {
            let word = self.text_of(token).to_owned();
            self.report(
                Diagnostic::new(
                    Code::MissingComma,
                    self.span(),
                    format!("a comma is missing before `{word}`"),
                    "this field stands on the line of the one before",
                )
                .with_help("write a comma between them, or a new line"),
            );
            self.blamed = None;
        }
        items.extend(self.field().map(BlockItem::Field));
    }

    fn field(&mut self) -> Option<Field> {
        let name = self.ident("a field")?;
        let value = self.assigned(Self::skip_in_block);
        Some(Field { name, value })
    }

    pub(super) fn field_out_of_place(&mut self, place: &str, help: &str) {
        let word = self.text_of(self.token()).to_owned();
        self.report(
            Diagnostic::new(
                Code::FieldOutOfPlace,
                self.span(),
                format!("the field `{word}` cannot stand {place}"),
                "a field stands in an attention or in a branch",
            )
            .with_help(help),
        );
        self.blamed = None;
        self.field();
    }

    fn item_out_of_place(&mut self, what: &str, inside: Inside, help: &str) {
        let diagnostic = Diagnostic::new(
            Code::ItemOutOfPlace,
            self.span(),
            format!("{what} cannot stand in {}", inside.name()),
            format!("expected {}", inside.takes()),
        )
        .with_help(help);
        self.report(diagnostic);
        self.blamed = None;
    }

    /// `branch` or `for` at the top level: reported, read for the mistakes in it, dropped.
    pub(super) fn block_item_at_top(&mut self) {
        let word = self.text_of(self.token()).to_owned();
        self.report(
            Diagnostic::new(
                Code::ItemOutOfPlace,
                self.span(),
                format!("`{word}` cannot stand at the top level"),
                "expected `use`, `let` or `attention`",
            )
            .with_help("it belongs into the braces of an attention"),
        );
        self.blamed = None;
        if word == "branch" {
            self.branch();
        } else {
            self.for_item();
        }
    }

    fn branch(&mut self) -> Option<Branch> {
        let start = self.span();
        self.bump();
        if self.kind() != Kind::LBrace {
            let help = "write `branch { segment = ..., dilation = ... }`";
            self.unexpected("`{`", Some(help.to_owned()));
            // `branch segment = 8`, `branch(segment = 8)`: what follows are its fields.
            let parenthesis = self.eat(Kind::LParen);
            while self.kind() == Kind::Ident
                && self.kind_after(1) == Kind::Eq
                && (self.token().newlines == 0 || parenthesis)
            {
                self.field();
                self.eat(Kind::Comma);
            }
            if parenthesis {
                self.eat(Kind::RParen);
            } else if self.kind() != Kind::RBrace && self.token().newlines == 0 {
                self.skip_in_block();
            }
            return None;
        }
        let items = self.block(Inside::Branch);
        let fields = items
            .into_iter()
            .filter_map(|item| match item {
                BlockItem::Field(field) => Some(field),
                BlockItem::Branch(_) | BlockItem::For(_) | BlockItem::Let(_) => None,
            })
            .collect();
        Some(Branch {
            fields,
            span: self.span_from(start),
        })
    }

    fn for_item(&mut self) -> Option<For> {
        let start = self.span();
        self.bump();
        let variable = self.ident("the loop variable");
        if variable.is_none()
            || !self.expect(
                Kind::Keyword(Keyword::In),
                "`in`",
                Some("write `for i in 0..5 { ... }`"),
            )
        {
            self.skip_to_block();
            if self.kind() == Kind::LBrace {
                self.block(Inside::For);
            }
            return None;
        }
        let over = self.over();
        let body = if self.kind() == Kind::LBrace {
            self.block(Inside::For)
        } else {
            self.unexpected(
                "`{`",
                Some("the body of a `for` stands in braces".to_owned()),
            );
            match self.kind() {
                // `for i in 0..5 branch { ... }`
                Kind::Keyword(Keyword::Branch) => {
                    self.branch().map(BlockItem::Branch).into_iter().collect()
                }
                _ => {
                    self.skip_in_block();
                    return None;
                }
            }
        };
        Some(For {
            variable: variable?,
            over,
            body,
            span: self.span_from(start),
        })
    }

    /// Skips what stands before the braces of a `for` whose head is wrong.
    fn skip_to_block(&mut self) {
        loop {
            match self.kind() {
                Kind::Keyword(Keyword::In) => {}
                Kind::LBrace | Kind::RBrace | Kind::Keyword(_) | Kind::Eof => return,
                _ => {}
            }
            self.bump();
        }
    }

    fn over(&mut self) -> Over {
        let first = self.expr();
        match self.kind() {
            Kind::DotDot => {}
            Kind::DotDotEq => {
                self.report(
                    Diagnostic::new(
                        Code::InclusiveRange,
                        self.span(),
                        "there is no `..=`",
                        "a range is written `..` and leaves out its end",
                    )
                    .with_help("write `a..b + 1` for `a..=b`"),
                );
            }
            _ => return Over::List(first),
        }
        self.bump();
        let last = self.expr();
        Over::Range(first, last)
    }
}

//! A file with its mutants beside the originals.

use crate::failure::Failure;
use crate::list::{Genre, Mutant, Place};
use proc_macro2::{LineColumn, Span};
use std::collections::BTreeSet;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, parse_quote, parse_str};

fn place(at: LineColumn) -> Place {
    (at.line, at.column + 1)
}

fn start(span: Span) -> Place {
    place(span.start())
}

struct Rewriter<'m> {
    mutants: &'m [Mutant],
    done: BTreeSet<u32>,
}

impl<'m> Rewriter<'m> {
    fn at(&self, genre: Genre, start: Place) -> impl Iterator<Item = &'m Mutant> + use<'m> {
        let mutants = self.mutants;
        mutants
            .iter()
            .filter(move |m| m.genre == genre && m.start == start)
    }

    /// `original` with each of the alternatives before it. The alternatives hold no mutants
    /// themselves: one is on at a time, and text would double with every level.
    fn choose(&mut self, original: Expr, alternatives: Vec<(u32, Expr)>) -> Expr {
        alternatives
            .into_iter()
            .rev()
            .fold(original, |otherwise, (id, alternative)| {
                self.done.insert(id);
                parse_quote!((if crate::__mutant::on(#id) { #alternative } else { #otherwise }))
            })
    }

    /// What a function could return at once, put first in its rewritten body.
    fn values(&mut self, original: &Block, rewritten: &mut Block) {
        let (Some(first), Some(last)) = (original.stmts.first(), original.stmts.last()) else {
            return;
        };
        let (from, to) = (start(first.span()), place(last.span().end()));
        let mutants = self
            .mutants
            .iter()
            .filter(|m| m.genre == Genre::FnValue && m.start == from && m.end == to);
        let mut returns = Vec::new();
        for mutant in mutants {
            let id = mutant.id;
            // `impl Iterator` has one type, so its two values cannot stand in one text.
            if mutant.replacement.starts_with("::std::iter::") {
                continue;
            }
            if let Ok(value) = parse_str::<Expr>(&mutant.replacement) {
                self.done.insert(id);
                returns.push(parse_quote!(if crate::__mutant::on(#id) { return #value; }));
            }
        }
        rewritten.stmts.splice(0..0, returns);
    }
}

/// Whether a condition binds names, so that no block can stand around it.
fn binds(condition: &Expr) -> bool {
    match condition {
        Expr::Let(_) => true,
        Expr::Binary(b) if matches!(b.op, syn::BinOp::And(_)) => binds(&b.left) || binds(&b.right),
        _ => false,
    }
}

impl VisitMut for Rewriter<'_> {
    fn visit_item_fn_mut(&mut self, node: &mut syn::ItemFn) {
        let original = node.block.clone();
        visit_mut::visit_block_mut(self, &mut node.block);
        self.values(&original, &mut node.block);
    }

    fn visit_impl_item_fn_mut(&mut self, node: &mut syn::ImplItemFn) {
        let original = node.block.clone();
        visit_mut::visit_block_mut(self, &mut node.block);
        self.values(&original, &mut node.block);
    }

    fn visit_trait_item_fn_mut(&mut self, node: &mut syn::TraitItemFn) {
        if let Some(block) = &mut node.default {
            let original = block.clone();
            visit_mut::visit_block_mut(self, block);
            self.values(&original, block);
        }
    }

    fn visit_arm_mut(&mut self, node: &mut syn::Arm) {
        let at = start(node.span());
        let at_guard = node.guard.as_ref().map(|(_, guard)| start(guard.span()));
        visit_mut::visit_arm_mut(self, node);
        if let (Some(at), Some((_, guard))) = (at_guard, &mut node.guard) {
            for mutant in self.at(Genre::MatchArmGuard, at) {
                let id = mutant.id;
                if binds(guard) {
                    continue;
                }
                self.done.insert(id);
                **guard = match mutant.replacement.as_str() {
                    "true" => parse_quote!((crate::__mutant::on(#id) || (#guard))),
                    _ => parse_quote!((!crate::__mutant::on(#id) && (#guard))),
                };
            }
        }
        for mutant in self.at(Genre::MatchArm, at) {
            let id = mutant.id;
            self.done.insert(id);
            node.guard = Some(match node.guard.take() {
                None => (Default::default(), parse_quote!(!crate::__mutant::on(#id))),
                Some((word, guard)) => (word, parse_quote!(!crate::__mutant::on(#id) && (#guard))),
            });
        }
    }

    fn visit_expr_mut(&mut self, node: &mut Expr) {
        let original = node.clone();
        visit_mut::visit_expr_mut(self, node);
        let mut alternatives: Vec<(u32, Expr)> = Vec::new();
        match &original {
            Expr::Binary(binary) if !binds(&original) => {
                for mutant in self.at(Genre::BinaryOperator, start(binary.op.span())) {
                    let mut binary = binary.clone();
                    let Ok(op) = parse_str::<syn::BinOp>(&mutant.replacement) else {
                        continue;
                    };
                    binary.op = op;
                    // A comparison binds less than what it may replace.
                    let (left, right) = (&binary.left, &binary.right);
                    binary.left = Box::new(match **left {
                        Expr::Path(_) | Expr::Lit(_) | Expr::Field(_) | Expr::Index(_) => {
                            parse_quote!(#left)
                        }
                        _ if assigns(&op) => parse_quote!(#left),
                        _ => parse_quote!((#left)),
                    });
                    binary.right = parse_quote!((#right));
                    alternatives.push((mutant.id, Expr::Binary(binary)));
                }
            }
            Expr::Unary(unary) => {
                for mutant in self.at(Genre::UnaryOperator, start(unary.op.span())) {
                    alternatives.push((mutant.id, (*unary.expr).clone()));
                }
            }
            Expr::Struct(literal) => {
                for (index, field) in literal.fields.iter().enumerate() {
                    for mutant in self.at(Genre::StructField, start(field.span())) {
                        let mut literal = literal.clone();
                        literal.fields = literal
                            .fields
                            .iter()
                            .enumerate()
                            .filter(|(at, _)| *at != index)
                            .map(|(_, field)| field.clone())
                            .collect();
                        alternatives.push((mutant.id, Expr::Struct(literal)));
                    }
                }
            }
            _ => return,
        }
        if !alternatives.is_empty() {
            let with = std::mem::replace(node, Expr::PLACEHOLDER);
            *node = self.choose(with, alternatives);
        }
    }
}

fn assigns(op: &syn::BinOp) -> bool {
    use syn::BinOp as B;
    matches!(
        op,
        B::AddAssign(_)
            | B::SubAssign(_)
            | B::MulAssign(_)
            | B::DivAssign(_)
            | B::RemAssign(_)
            | B::BitXorAssign(_)
            | B::BitAndAssign(_)
            | B::BitOrAssign(_)
            | B::ShlAssign(_)
            | B::ShrAssign(_)
    )
}

/// The text with the mutants in it, and which of them are in it.
pub fn rewrite(text: &str, mutants: &[Mutant]) -> Result<(String, BTreeSet<u32>), Failure> {
    let mut file = syn::parse_file(text)?;
    let mut rewriter = Rewriter {
        mutants,
        done: BTreeSet::new(),
    };
    rewriter.visit_file_mut(&mut file);
    Ok((prettyplease::unparse(&file), rewriter.done))
}

/// Where in a rewritten text a mutant stands: its whole expression or statement, and the part that
/// is there because of it.
#[derive(Debug)]
pub struct Stand {
    pub id: u32,
    pub whole: (Place, Place),
    pub own: (Place, Place),
}

struct Finder(Vec<Stand>);

fn id_of(condition: &Expr) -> Option<u32> {
    let call = match condition {
        Expr::Call(call) => call,
        Expr::Unary(unary) => return id_of(&unary.expr),
        Expr::Binary(binary) => return id_of(&binary.left),
        Expr::Paren(paren) => return id_of(&paren.expr),
        _ => return None,
    };
    match (&*call.func, call.args.first()) {
        (
            Expr::Path(path),
            Some(Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Int(id),
                ..
            })),
        ) if path.path.segments.iter().any(|s| s.ident == "__mutant") => id.base10_parse().ok(),
        _ => None,
    }
}

fn range(span: Span) -> (Place, Place) {
    (place(span.start()), place(span.end()))
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_expr_if(&mut self, node: &'ast syn::ExprIf) {
        if let Some(id) = id_of(&node.cond) {
            let (from, _) = range(node.cond.span());
            let (_, to) = range(node.then_branch.span());
            self.0.push(Stand {
                id,
                whole: range(node.span()),
                own: (from, to),
            });
        }
        syn::visit::visit_expr_if(self, node);
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        if let Some((_, guard)) = &node.guard
            && let Some(id) = id_of(guard)
        {
            self.0.push(Stand {
                id,
                whole: range(node.span()),
                own: range(guard.span()),
            });
        }
        syn::visit::visit_arm(self, node);
    }
}

/// Where the mutants stand in a rewritten text.
pub fn stands(text: &str) -> Result<Vec<Stand>, Failure> {
    let mut finder = Finder(Vec::new());
    finder.visit_file(&syn::parse_file(text)?);
    Ok(finder.0)
}

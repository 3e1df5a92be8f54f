//! What a statement becomes once it is planned, counted before it is: planning takes memory with what the SQL stands for, which a
//! short text can make as large as it likes.
//!
//! A `with` is planned anew wherever it is named; a filter is carried down through the queries below it, and an expression that names
//! a column twice is then there twice, at every level. So is a text that is put together from itself.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArguments, ObjectName, Query, SetExpr, Spanned, Statement as SqlStatement,
    Visit, Visitor,
};

use super::error::Place;

/// More relations than anyone joins by hand.
const RELATIONS: usize = 1000;
/// So often an expression may be there once it is carried down to what it is made of.
const REPEATS: usize = 100_000;
/// So many times may a text, or a list, be as long as what it is made of, over all relations.
const GROWTH: usize = 1000;
/// Of queries in one another.
const NESTED_QUERIES: usize = 50;
/// These put together what they are given.
const GROWING: [&str; 3] = ["concat", "concat_ws", "make_array"];

/// What is counted of one query with all that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight {
    relations: usize,
    /// How often what is at the bottom stands in one expression, along the deepest way down.
    repeats: usize,
    /// The same of texts and lists that are put together.
    growth: usize,
}

/// A function by its name in lower case, and where it is called.
pub(super) type Call = (String, Option<Place>);

#[derive(Debug)]
pub(super) struct Weighed {
    pub weight: Weight,
    /// Functions of every kind, in the order of the SQL.
    pub calls: Vec<Call>,
}

impl Weight {
    const NOTHING: Self = Self { relations: 0, repeats: 1, growth: 1 };

    /// What is refused of anybody.
    pub(super) fn too_many(self) -> Option<String> {
        (self.relations > RELATIONS).then(|| {
            format!(
                "it reads more than {RELATIONS} relations, each `with` counted wherever it is named: name them less often"
            )
        })
    }

    /// What is refused besides of SQL that a request brings.
    pub(super) fn too_much(self) -> Option<String> {
        if self.repeats > REPEATS {
            let message = "queries in one another name the same columns so often that one expression would have more than \
                           100000 parts: name them less often";
            return Some(message.to_owned());
        }
        (self.growth > 1 && self.growth.saturating_mul(self.relations) > GROWTH).then(|| {
            format!("it puts a text or list together more than {GROWTH} times from itself: name it less often")
        })
    }

    fn put_below(&mut self, below: Self) {
        self.relations = self.relations.saturating_add(below.relations);
        self.repeats = self.repeats.max(below.repeats);
        self.growth = self.growth.max(below.growth);
    }
}

/// `None`: queries are nested too deep.
pub(super) fn weigh(statement: &SqlStatement) -> Option<Weighed> {
    let mut scale = Scale { frames: vec![Frame::default()], calls: Vec::new() };
    if statement.visit(&mut scale).is_break() {
        return None;
    }
    let weight = scale.frames.pop().map_or(Weight::NOTHING, Frame::weight);
    Some(Weighed { weight, calls: scale.calls })
}

/// One query on the way down.
struct Frame {
    /// The names of its `with`, in their order, and how many of them are weighed.
    names: Vec<String>,
    n_weighed: usize,
    known: BTreeMap<String, Weight>,
    /// Of what is named or stands in it.
    below: Weight,
    /// How often a column is named in all its expressions, and how often in those that put together.
    named: BTreeMap<String, usize>,
    grown: BTreeMap<String, usize>,
    /// Separators are put in between all others.
    separated: usize,
    growing: usize,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            n_weighed: 0,
            known: BTreeMap::new(),
            below: Weight::NOTHING,
            named: BTreeMap::new(),
            grown: BTreeMap::new(),
            separated: 0,
            growing: 0,
        }
    }
}

impl Frame {
    fn of(query: &Query) -> Self {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = tables.map(|table| table.alias.name.value.clone()).collect();
        let below = Weight { relations: selects(&query.body), ..Weight::NOTHING };
        Self { names, below, ..Self::default() }
    }

    fn weight(self) -> Weight {
        let most = |named: &BTreeMap<String, usize>| named.values().copied().max().unwrap_or(1).max(1);
        Weight {
            relations: self.below.relations,
            repeats: self.below.repeats.saturating_mul(most(&self.named)),
            growth: self.below.growth.saturating_mul(most(&self.grown).saturating_add(self.separated)),
        }
    }
}

/// The arms of a union, each of which is a relation to planning.
fn selects(body: &SetExpr) -> usize {
    let (mut left, mut n_selects) = (vec![body], 0);
    while let Some(body) = left.pop() {
        match body {
            SetExpr::SetOperation { left: one, right: other, .. } => left.extend([one.as_ref(), other.as_ref()]),
            _ => n_selects += 1,
        }
    }
    n_selects
}

struct Scale {
    frames: Vec<Frame>,
    calls: Vec<Call>,
}

impl Scale {
    fn frame(&mut self, change: impl FnOnce(&mut Frame)) {
        if let Some(frame) = self.frames.last_mut() {
            change(frame);
        }
    }

    fn call(&mut self, function: &Function) {
        let start = function.span().start;
        let name = name_of(function);
        if name == "concat_ws"
            && let FunctionArguments::List(list) = &function.args
        {
            self.frame(|frame| frame.separated += list.args.len());
        }
        self.calls.push((name, Place::of(start.line, start.column)));
    }
}

fn name_of(function: &Function) -> String {
    function.name.to_string().trim_matches('"').to_lowercase()
}

fn puts_together(expression: &SqlExpr) -> bool {
    use datafusion::sql::sqlparser::ast::BinaryOperator::StringConcat;
    match expression {
        SqlExpr::BinaryOp { op, .. } => *op == StringConcat,
        SqlExpr::Function(function) => GROWING.contains(&name_of(function).as_str()),
        SqlExpr::Array(_)
        | SqlExpr::Overlay { .. }
        | SqlExpr::Struct { .. }
        | SqlExpr::Tuple(_)
        | SqlExpr::Dictionary(_)
        | SqlExpr::Map(_) => true,
        _ => false,
    }
}

impl Visitor for Scale {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.frames.push(Frame::of(query));
        if self.frames.len() > NESTED_QUERIES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        let weight = self.frames.pop().map_or(Weight::NOTHING, Frame::weight);
        // The first queries in a query are those of its `with`.
        self.frame(|frame| match frame.names.get(frame.n_weighed).cloned() {
            Some(name) => {
                frame.n_weighed += 1;
                frame.known.insert(name, weight);
            }
            None => frame.below.put_below(weight),
        });
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = match relation.0.as_slice() {
            [part] => part.as_ident().map(|ident| ident.value.as_str()),
            _ => None,
        };
        let one = Weight { relations: 1, ..Weight::NOTHING };
        let found = name.and_then(|name| self.frames.iter().rev().find_map(|frame| frame.known.get(name)));
        let weight = found.copied().unwrap_or(one);
        self.frame(|frame| frame.below.put_below(weight));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &SqlExpr) -> ControlFlow<()> {
        if puts_together(expression) {
            self.frame(|frame| frame.growing += 1);
        }
        let column = match expression {
            SqlExpr::Identifier(name) => Some(name),
            SqlExpr::CompoundIdentifier(names) => names.last(),
            SqlExpr::Function(function) => {
                self.call(function);
                None
            }
            _ => None,
        };
        if let Some(column) = column {
            self.frame(|frame| {
                *frame.named.entry(column.value.clone()).or_default() += 1;
                if frame.growing > 0 {
                    *frame.grown.entry(column.value.clone()).or_default() += 1;
                }
            });
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &SqlExpr) -> ControlFlow<()> {
        if puts_together(expression) {
            self.frame(|frame| frame.growing -= 1);
        }
        ControlFlow::Continue(())
    }
}

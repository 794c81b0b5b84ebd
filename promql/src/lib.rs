//! PromQL text to a checked, typed and optimised query tree. No I/O, no async, no DataFusion.
//!
//! ```text
//! text ──parse──> Expr (what was written, with positions) ──lower──> tree::Node (what is to be evaluated)
//! ```
//!
//! The syntax, what of it is experimental, and what is refused, is in docs/promql.md.

pub mod ast;
mod check;
mod error;
mod function;
mod lexer;
mod lower;
mod parser;
mod pretty;
mod print;
mod quote;
mod regex_error;
pub mod tree;

pub use ast::Expr;
pub use error::{LowerError, ParseError};
pub use function::{Function, Signature};
pub use lexer::parse_duration;
pub use lower::{LowerOptions, lower, require_range_type, scalar_operation};
pub use parser::{ParseOptions, parse, parse_selector};
pub use pretty::pretty;

//! Tokens and keywords.

use crate::quote::{quote, quote_prefix};
use crate::tree::{AggregateOp, BinaryOp, Span};

/// A piece of the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

/// What a piece of the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Eof,
    Comma,
    Colon,
    Eql,
    LeftBrace,
    LeftBracket,
    LeftParen,
    RightBrace,
    RightBracket,
    RightParen,
    Number,
    Duration,
    String,
    Identifier,
    /// An identifier with a colon, which only a metric name can be.
    MetricIdentifier,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    EqlC,
    Neq,
    Gtr,
    Gte,
    Lss,
    Lte,
    TrimUpper,
    TrimLower,
    EqlRegex,
    NeqRegex,
    At,
    And,
    Or,
    Unless,
    Atan2,
    Aggregator(AggregateOp),
    Bool,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Offset,
    Anchored,
    Smoothed,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

impl TokenKind {
    /// The operator this is between two operands.
    pub(crate) fn binary_op(self) -> Option<BinaryOp> {
        Some(match self {
            Self::Add => BinaryOp::Add,
            Self::Sub => BinaryOp::Sub,
            Self::Mul => BinaryOp::Mul,
            Self::Div => BinaryOp::Div,
            Self::Mod => BinaryOp::Mod,
            Self::Pow => BinaryOp::Pow,
            Self::EqlC => BinaryOp::Eql,
            Self::Neq => BinaryOp::Neq,
            Self::Gtr => BinaryOp::Gtr,
            Self::Gte => BinaryOp::Gte,
            Self::Lss => BinaryOp::Lss,
            Self::Lte => BinaryOp::Lte,
            Self::TrimUpper => BinaryOp::TrimUpper,
            Self::TrimLower => BinaryOp::TrimLower,
            Self::And => BinaryOp::And,
            Self::Or => BinaryOp::Or,
            Self::Unless => BinaryOp::Unless,
            Self::Atan2 => BinaryOp::Atan2,
            _ => return None,
        })
    }

    /// Whether a metric may be named so without quotes.
    pub(crate) fn is_metric_name(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Without => true,
            Self::Atan2 | Self::Bool | Self::On | Self::Ignoring | Self::GroupLeft | Self::GroupRight => false,
            _ => self.is_label_name(),
        }
    }

    /// Whether a label of a grouping may be named so without quotes.
    pub(crate) fn is_label_name(self) -> bool {
        matches!(
            self,
            Self::Identifier
                | Self::MetricIdentifier
                | Self::And
                | Self::Or
                | Self::Unless
                | Self::Atan2
                | Self::Aggregator(_)
                | Self::Bool
                | Self::By
                | Self::On
                | Self::Ignoring
                | Self::GroupLeft
                | Self::GroupRight
                | Self::Fill
                | Self::FillLeft
                | Self::FillRight
                | Self::Offset
                | Self::Anchored
                | Self::Smoothed
        ) || self.is_function_keyword()
    }

    /// Whether this keyword also names a function.
    pub(crate) fn is_function_keyword(self) -> bool {
        matches!(self, Self::Start | Self::End | Self::Step | Self::Range | Self::MaxOf | Self::MinOf)
    }

    /// Whether an expression can start so.
    pub(crate) fn starts_expr(self) -> bool {
        self.is_metric_name()
            || matches!(
                self,
                Self::LeftBrace
                    | Self::LeftParen
                    | Self::Number
                    | Self::Duration
                    | Self::String
                    | Self::Add
                    | Self::Sub
            )
    }

    /// How messages name a token of this kind whose text is `text`.
    pub(crate) fn describe(self, text: &str) -> String {
        match self {
            Self::Eof => "end of input".to_string(),
            Self::Identifier => format!("identifier {}", quote(text)),
            Self::MetricIdentifier => format!("metric identifier {}", quote(text)),
            Self::String => format!("string {}", abbreviated(text)),
            Self::Number => format!("number {}", abbreviated(text)),
            Self::Duration => format!("duration {}", abbreviated(text)),
            Self::Aggregator(_) => format!("<aggr:{text}>"),
            Self::EqlRegex | Self::NeqRegex | Self::At => format!("<op:{text}>"),
            _ if self.binary_op().is_some() => format!("<op:{text}>"),
            Self::Bool
            | Self::By
            | Self::Without
            | Self::On
            | Self::Ignoring
            | Self::GroupLeft
            | Self::GroupRight
            | Self::Fill
            | Self::FillLeft
            | Self::FillRight
            | Self::Offset
            | Self::Anchored
            | Self::Smoothed => format!("<{text}>"),
            _ => abbreviated(text),
        }
    }
}

fn abbreviated(text: &str) -> String {
    if text.len() > 10 { format!("{}...", quote_prefix(text, 10)) } else { quote(text) }
}

/// The longest keyword's length in bytes.
const KEYWORD_LENGTH_MAX: usize = "count_values".len();

/// The keyword `word` is, in any case.
pub(super) fn keyword(word: &str) -> Option<TokenKind> {
    if word.len() > KEYWORD_LENGTH_MAX {
        return None;
    }
    Some(match word.to_ascii_lowercase().as_str() {
        "and" => TokenKind::And,
        "or" => TokenKind::Or,
        "unless" => TokenKind::Unless,
        "atan2" => TokenKind::Atan2,
        "sum" => TokenKind::Aggregator(AggregateOp::Sum),
        "avg" => TokenKind::Aggregator(AggregateOp::Avg),
        "count" => TokenKind::Aggregator(AggregateOp::Count),
        "min" => TokenKind::Aggregator(AggregateOp::Min),
        "max" => TokenKind::Aggregator(AggregateOp::Max),
        "group" => TokenKind::Aggregator(AggregateOp::Group),
        "stddev" => TokenKind::Aggregator(AggregateOp::Stddev),
        "stdvar" => TokenKind::Aggregator(AggregateOp::Stdvar),
        "topk" => TokenKind::Aggregator(AggregateOp::Topk),
        "bottomk" => TokenKind::Aggregator(AggregateOp::Bottomk),
        "count_values" => TokenKind::Aggregator(AggregateOp::CountValues),
        "quantile" => TokenKind::Aggregator(AggregateOp::Quantile),
        "limitk" => TokenKind::Aggregator(AggregateOp::Limitk),
        "limit_ratio" => TokenKind::Aggregator(AggregateOp::LimitRatio),
        "offset" => TokenKind::Offset,
        "smoothed" => TokenKind::Smoothed,
        "anchored" => TokenKind::Anchored,
        "by" => TokenKind::By,
        "without" => TokenKind::Without,
        "on" => TokenKind::On,
        "ignoring" => TokenKind::Ignoring,
        "group_left" => TokenKind::GroupLeft,
        "group_right" => TokenKind::GroupRight,
        "fill" => TokenKind::Fill,
        "fill_left" => TokenKind::FillLeft,
        "fill_right" => TokenKind::FillRight,
        "bool" => TokenKind::Bool,
        "start" => TokenKind::Start,
        "end" => TokenKind::End,
        "inf" | "nan" => TokenKind::Number,
        word => return duration_keyword(word),
    })
}

/// The name of a duration expression `word` is, in any case.
pub(super) fn duration_keyword(word: &str) -> Option<TokenKind> {
    [("step", TokenKind::Step), ("range", TokenKind::Range), ("max_of", TokenKind::MaxOf), ("min_of", TokenKind::MinOf)]
        .into_iter()
        .find_map(|(name, kind)| word.eq_ignore_ascii_case(name).then_some(kind))
}

//! What `weir tail --where` takes: a column, a comparison, a value.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::config::BadConfig;

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    Contains,
}

/// Longer ones first: `<=` begins with `<`.
const OPS: [(&str, Op); 7] = [
    ("!=", Op::Unequal),
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("=", Op::Equal),
    ("<", Op::Less),
    (">", Op::More),
    ("~", Op::Contains),
];

/// One condition.
#[derive(Debug, PartialEq)]
pub struct Filter {
    /// The column it is about.
    pub column: String,
    op: Op,
    value: String,
}

impl Filter {
    /// Reads `COLUMN=VALUE` and the like.
    pub fn parse(text: &str) -> Result<Filter, BadConfig> {
        let first = text.find(['!', '<', '>', '=', '~']).filter(|at| *at > 0);
        let rest = first.and_then(|at| text.get(at..)).unwrap_or_default();
        let Some((sign, op)) = OPS.iter().find(|(sign, _)| rest.starts_with(sign)) else {
            return Err(BadConfig(format!(
                "--where `{text}`: it is COLUMN, one of = != < <= > >= ~, and a value"
            )));
        };
        let column = text[..text.len() - rest.len()].trim().to_owned();
        let value = rest[sign.len()..].trim().to_owned();
        Ok(Filter { column, op: *op, value })
    }

    /// Whether it holds for a row. A cell that is unset is unequal to everything; a set or vector is equal
    /// to a value that it holds.
    pub fn holds(&self, row: &Map<String, Value>) -> bool {
        let cell = row.get(&self.column).unwrap_or(&Value::Null);
        match self.op {
            Op::Unequal => !self.any(cell, &|cell| self.order(cell) == Some(Ordering::Equal)),
            Op::Contains => self.any(cell, &|cell| text(cell).contains(&self.value)),
            Op::Equal => self.any(cell, &|cell| self.order(cell) == Some(Ordering::Equal)),
            Op::Less => self.any(cell, &|cell| self.order(cell) == Some(Ordering::Less)),
            Op::More => self.any(cell, &|cell| self.order(cell) == Some(Ordering::Greater)),
            Op::AtMost => self.any(cell, &|cell| self.order(cell).is_some_and(Ordering::is_le)),
            Op::AtLeast => self.any(cell, &|cell| self.order(cell).is_some_and(Ordering::is_ge)),
        }
    }

    fn any(&self, cell: &Value, test: &dyn Fn(&Value) -> bool) -> bool {
        match cell {
            Value::Null => false,
            Value::Array(cells) => cells.iter().any(test),
            cell => test(cell),
        }
    }

    /// How a cell compares: numbers as numbers, all else as text. `T` and `F` are Zeek's truth values.
    fn order(&self, cell: &Value) -> Option<Ordering> {
        match cell {
            Value::Number(number) => number.as_f64()?.partial_cmp(&self.value.parse::<f64>().ok()?),
            Value::Bool(truth) => match self.value.as_str() {
                "T" | "true" => Some(truth.cmp(&true)),
                "F" | "false" => Some(truth.cmp(&false)),
                _ => None,
            },
            cell => Some(text(cell).as_str().cmp(&self.value)),
        }
    }
}

fn text(cell: &Value) -> String {
    match cell {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_hold_as_they_read() {
        let row = json!({
            "service": "ssl", "id.resp_p": 443, "duration": 0.5, "local_orig": true,
            "answers": ["192.0.2.1", "192.0.2.2"], "query": "www.example.com"
        });
        let row = row.as_object().unwrap();
        for (text, want) in [
            ("service=ssl", true),
            ("service = ssl", true),
            ("service!=ssl", false),
            ("service~ss", true),
            ("id.resp_p=443", true),
            ("id.resp_p=443.0", true),
            ("id.resp_p<1000", true),
            ("id.resp_p<=443", true),
            ("id.resp_p>443", false),
            ("id.resp_p>=443", true),
            ("id.resp_p=https", false),
            ("duration>0.25", true),
            ("local_orig=T", true),
            ("local_orig=false", false),
            ("answers=192.0.2.2", true),
            ("answers!=192.0.2.2", false),
            ("query~example", true),
            ("history=S", false),
            ("history!=S", true),
            ("query=www.example.com", true),
        ] {
            assert_eq!(Filter::parse(text).unwrap().holds(row), want, "{text}");
        }
        // The first sign counts: values may hold any.
        let filter = Filter::parse("uri~?a=1").unwrap();
        assert_eq!((filter.op, filter.value.as_str()), (Op::Contains, "?a=1"));
    }

    #[test]
    fn what_is_no_condition_is_named() {
        for text in ["service", "=ssl", "", "service!ssl"] {
            assert!(Filter::parse(text).unwrap_err().to_string().contains(text), "{text}");
        }
    }
}

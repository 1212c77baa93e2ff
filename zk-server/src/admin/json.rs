//! JSON as Jackson prints it: two blanks of indent, ` : ` behind a key, arrays of one line, `[ ]` and `{ }`.

use base::metrics::Number;
use serde_json::Value;
use std::fmt::Write;

pub(super) fn text(value: &Value) -> String {
    let mut to = String::new();
    put(value, 0, &mut to);
    to
}

/// A double that JSON has no word for stands in quotes.
pub(super) fn number(number: Number) -> Value {
    match number {
        Number::Int(number) => number.into(),
        Number::Float(float) => match serde_json::Number::from_f64(float) {
            Some(float) => Value::Number(float),
            None => number.to_string().into(),
        },
    }
}

fn put(value: &Value, depth: usize, to: &mut String) {
    match value {
        Value::Object(fields) if fields.is_empty() => to.push_str("{ }"),
        Value::Object(fields) => {
            to.push('{');
            for (count, (key, value)) in fields.iter().enumerate() {
                to.push_str(if count == 0 { "\n" } else { ",\n" });
                indent(depth + 1, to);
                let _ = write!(to, "{} : ", Value::from(key.as_str()));
                put(value, depth + 1, to);
            }
            to.push('\n');
            indent(depth, to);
            to.push('}');
        }
        Value::Array(items) if items.is_empty() => to.push_str("[ ]"),
        Value::Array(items) => {
            to.push_str("[ ");
            for (count, item) in items.iter().enumerate() {
                to.push_str(if count == 0 { "" } else { ", " });
                put(item, depth, to);
            }
            to.push_str(" ]");
        }
        Value::Number(number) if number.is_f64() => {
            let _ = write!(to, "{}", Number::Float(number.as_f64().unwrap_or_default()));
        }
        other => {
            let _ = write!(to, "{other}");
        }
    }
}

fn indent(depth: usize, to: &mut String) {
    (0..depth).for_each(|_| to.push_str("  "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_and_arrays_look_as_jackson_s() {
        let value = json!({
            "connections": [ { "a": 1, "b": [] }, { "c": 0.0 } ],
            "paths": { "72059131543748608": ["/e", "/f"] },
            "none": {},
            "text": "a\n\"b\"/",
            "error": null,
        });
        assert_eq!(
            text(&value),
            "{\n  \"connections\" : [ {\n    \"a\" : 1,\n    \"b\" : [ ]\n  }, {\n    \"c\" : 0.0\n  } ],\n  \
             \"paths\" : {\n    \"72059131543748608\" : [ \"/e\", \"/f\" ]\n  },\n  \"none\" : { },\n  \
             \"text\" : \"a\\n\\\"b\\\"/\",\n  \"error\" : null\n}"
        );
    }

    #[test]
    fn doubles_are_java_s() {
        assert_eq!(text(&number(Number::Float(9.22165248e9))), "9.22165248E9");
        assert_eq!(text(&number(Number::Float(f64::NAN))), "\"NaN\"");
        assert_eq!(text(&number(Number::Int(-1))), "-1");
    }
}

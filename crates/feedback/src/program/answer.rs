//! What a program says of a response.

use serde_json::Value;

use crate::records::shown;

/// The score of an answer: a number, or an object with one under `score`. The error is what was found
/// instead.
pub(super) fn read(line: &[u8]) -> Result<f32, String> {
    let text = std::str::from_utf8(line).map_err(|_| "bytes that are no UTF-8".to_owned())?.trim();
    let value: Value = serde_json::from_str(text).map_err(|_| shown(&Value::from(text)))?;
    let score = match &value {
        Value::Object(object) => object.get("score").unwrap_or(&Value::Null),
        other => other,
    };
    let number = score.as_f64().ok_or_else(|| match &value {
        Value::Object(object) if !object.contains_key("score") => "an object without `score`".to_owned(),
        _ => shown(score),
    })?;
    let narrow = number as f32;
    if narrow.is_finite() { Ok(narrow) } else { Err(format!("{number:e}, which is too large")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_objects() {
        assert_eq!(read(b"0.5"), Ok(0.5));
        assert_eq!(read(b" -3 \r\n"), Ok(-3.0));
        assert_eq!(read(b"{\"score\": 1e2, \"why\": \"good\"}"), Ok(100.0));
    }

    #[test]
    fn all_else_is_named() {
        for (line, found) in [
            (&b"good"[..], "the text \"good\""),
            (b"", "the text \"\""),
            (b"NaN", "the text \"NaN\""),
            (b"null", "null"),
            (b"\"1\"", "the text \"1\""),
            (b"[1]", "a list of 1"),
            (b"{}", "an object without `score`"),
            (b"{\"score\": null}", "null"),
            (b"1e300", "1e300, which is too large"),
            (b"\xff", "bytes that are no UTF-8"),
        ] {
            assert_eq!(read(line), Err(found.to_owned()));
        }
    }
}

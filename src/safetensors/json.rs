//! The part of JSON (RFC 8259) that headers, and lists in their metadata, are made of: objects, arrays,
//! strings and numbers.
//!
//! The reader is a cursor that is told what comes next, not a parser of values: whatever the
//! format has no place for is refused where it begins. So nothing is ever skipped, nesting goes
//! no deeper than the format's three levels, and no recursion depends on the input.

use crate::error::Error;
use core::fmt::Display;
use std::borrow::Cow;

/// The defect of a text, and the byte at which it was found.
#[derive(Debug)]
pub(crate) struct Malformed {
    of: &'static str,
    at: usize,
    why: String,
}

impl Malformed {
    /// The same, said of a part: `part: why`.
    pub(super) fn within(mut self, part: impl Display) -> Self {
        self.why = format!("{part}: {}", self.why);
        self
    }
}

impl From<Malformed> for Error {
    fn from(Malformed { of, at, why }: Malformed) -> Self {
        Self::value(of, format!("{why} (at byte {at} of the {of})"))
    }
}

/// A position in a text.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    /// The name of the text in messages: `header`, or `metadata KEY`.
    of: &'static str,
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(of: &'static str, text: &'a str) -> Self {
        Self { of, text, at: 0 }
    }

    /// A fault at the current position.
    pub(crate) fn fault(&self, why: impl Into<String>) -> Malformed {
        Malformed {
            of: self.of,
            at: self.at,
            why: why.into(),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// A description of the current position, for a message.
    fn found(&self) -> String {
        match self
            .text
            .get(self.at..)
            .and_then(|rest| rest.chars().next())
        {
            Some(quote @ ('"' | '\'')) => format!("'{quote}'"),
            Some(c) => format!("'{}'", c.escape_debug()),
            None => format!("the end of the {}", self.of),
        }
    }

    fn expected(&self, what: impl Display) -> Malformed {
        self.fault(format!("expected {what}, found {}", self.found()))
    }

    /// Skips whitespace, then takes `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// Nothing but whitespace may be left.
    pub(crate) fn end(&mut self) -> Result<(), Malformed> {
        self.skip_whitespace();
        let last = self.text[..self.at].trim_end().chars().next_back();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected(format_args!(
                "nothing but whitespace after the closing '{}'",
                last.unwrap_or('}')
            ))),
        }
    }

    /// A list between brackets, separated by commas; `item` takes one element.
    fn list(
        &mut self,
        what: &str,
        [open, close]: [u8; 2],
        mut item: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if !self.take(open) {
            return Err(self.expected(what));
        }
        if self.take(close) {
            return Ok(());
        }
        loop {
            self.skip_whitespace();
            item(self)?;
            if self.take(close) {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected(format_args!("',' or '{}'", char::from(close))));
            }
        }
    }

    /// An object; `member` is given each key and takes its value.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.list("an object", *b"{}", |cursor| {
            let key = cursor.string()?;
            if !cursor.take(b':') {
                return Err(cursor.expected(format_args!("':' after {}", quoted(&key))));
            }
            cursor.skip_whitespace();
            member(cursor, key)
        })
    }

    /// An array; `item` takes each element.
    pub(crate) fn array(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.list("an array", *b"[]", item)
    }

    /// An array of numbers.
    pub(crate) fn numbers(&mut self) -> Result<Vec<f64>, Malformed> {
        let mut numbers = Vec::new();
        self.array(|cursor| {
            numbers.push(cursor.number()?);
            Ok(())
        })?;
        Ok(numbers)
    }

    /// A number as JSON writes it, to the nearest `f64`.
    pub(crate) fn number(&mut self) -> Result<f64, Malformed> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| b"+-.0123456789eE".contains(byte);
        let number = &rest[..rest.bytes().take_while(is_part).count()];
        let digits = number.strip_prefix('-').unwrap_or(number);
        let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        let bytes = digits.as_bytes();
        // What Rust reads and JSON does not write: no digit before or after the point, leading zeros.
        let point = bytes.iter().position(|byte| *byte == b'.');
        let is_json = is_digit(bytes.first())
            && is_digit(bytes.last())
            && point.is_none_or(|at| is_digit(bytes.get(at + 1)))
            && !(bytes[0] == b'0' && is_digit(bytes.get(1)));
        match number.parse::<f64>() {
            Ok(value) if is_json && value.is_finite() => {
                self.at += number.len();
                Ok(value)
            }
            Ok(_) if is_json => Err(self.fault(format!("{number} is beyond the range of f64"))),
            _ => Err(self.expected("a number")),
        }
    }

    /// An array of non-negative integers of at most `N` elements, given as a buffer and a length.
    pub(super) fn integers<const N: usize>(&mut self) -> Result<([usize; N], usize), Malformed> {
        let (mut values, mut len) = ([0; N], 0);
        self.list("an array of integers", *b"[]", |cursor| {
            let Some(place) = values.get_mut(len) else {
                return Err(cursor.fault(format!("more than {N} numbers")));
            };
            *place = cursor.integer()?;
            len += 1;
            Ok(())
        })?;
        Ok((values, len))
    }

    /// A non-negative integer as JSON writes it, without fraction or exponent. It never passes
    /// through a float, which would round it beyond 2^53.
    fn integer(&mut self) -> Result<usize, Malformed> {
        let start = self.at;
        let mut value = Some(0usize);
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value
                .and_then(|v| v.checked_mul(10))
                .and_then(|v| v.checked_add(usize::from(digit - b'0')));
            self.at += 1;
        }
        let digits = &self.text.as_bytes()[start..self.at];
        if digits.is_empty() {
            return Err(self.expected("a non-negative integer"));
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return Err(self.expected("an integer without fraction or exponent"));
        }
        self.at = start;
        if digits.len() > 1 && digits[0] == b'0' {
            return Err(self.fault("an integer must not begin with 0"));
        }
        let value =
            value.ok_or_else(|| self.fault(format!("an integer exceeds {}", usize::MAX)))?;
        self.at += digits.len();
        Ok(value)
    }

    /// A string, unescaped; borrowed where there was nothing to unescape. What it allocates is
    /// never more than the text it was written in.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a string"));
        }
        self.at += 1;
        let (text, start, mut escaped) = (self.text, self.at, false);
        loop {
            match self.peek() {
                Some(b'"') => break,
                // The byte after a backslash cannot end the string; which one it may be is
                // settled by `escape`.
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(0..0x20) => {
                    return Err(self.fault(format!(
                        "raw control character {} in a string; it must be escaped",
                        self.found()
                    )));
                }
                Some(_) => self.at += 1,
                None => {
                    self.at = text.len();
                    return Err(self.fault("a string is not closed"));
                }
            }
        }
        let end = self.at;
        self.at = end + 1;
        if !escaped {
            return Ok(Cow::Borrowed(&text[start..end]));
        }
        // Escapes see the text beyond the string, whose closing quote stops them.
        let mut inside = Cursor {
            of: self.of,
            text,
            at: start,
        };
        let mut unescaped = String::with_capacity(end - start);
        while inside.at < end {
            let rest = &text[inside.at..end];
            let plain = rest.find('\\').unwrap_or(rest.len());
            unescaped.push_str(&rest[..plain]);
            inside.at += plain;
            if inside.at < end {
                unescaped.push(inside.escape()?);
            }
        }
        Ok(Cow::Owned(unescaped))
    }

    /// An escape sequence, from its backslash on. Beyond the basic plane characters are written
    /// as a pair of surrogates (RFC 8259, section 7); a surrogate alone is no character.
    fn escape(&mut self) -> Result<char, Malformed> {
        let start = self.at;
        self.at += 1;
        let kind = self.peek();
        let simple = match kind {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let unit = self.hex4()?;
                let code = match unit {
                    0xd800..0xdc00 if self.text[self.at..].starts_with("\\u") => {
                        self.at += 2;
                        match self.hex4()? {
                            low @ 0xdc00..0xe000 => {
                                0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                            }
                            _ => unit,
                        }
                    }
                    _ => unit,
                };
                // What is left of the surrogates here had no partner.
                return char::from_u32(code).ok_or(Malformed {
                    of: self.of,
                    at: start,
                    why: format!("lone surrogate \\u{unit:04x} in a string"),
                });
            }
            _ => {
                return Err(
                    self.expected("an escape, one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u")
                );
            }
        };
        self.at += 1;
        Ok(simple)
    }

    /// Four hexadecimal digits, and nothing else that a number parser might take (a sign).
    fn hex4(&mut self) -> Result<u32, Malformed> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self
                .peek()
                .and_then(|byte| char::from(byte).to_digit(16))
                .ok_or_else(|| self.expected("four hexadecimal digits after \\u"))?;
            value = 16 * value + digit;
            self.at += 1;
        }
        Ok(value)
    }
}

/// A name for a message: in quotes, escaped, and cut, so that a message stays short whatever is
/// in the file.
pub(super) fn quoted(name: &str) -> String {
    const LONGEST: usize = 80;
    let cut = name.char_indices().nth(LONGEST).map(|(at, _)| at);
    let shown = name[..cut.unwrap_or(name.len())].escape_debug();
    match cut {
        Some(_) => format!("\"{shown}...\""),
        None => format!("\"{shown}\""),
    }
}

/// Appends `text` as a JSON string, escaping what must be escaped and nothing else: the same
/// bytes as the reference library writes.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c| matches!(c, '"' | '\\' | '\0'..' ')) {
        let (plain, special) = rest.split_at(at);
        // The characters searched for take one byte each.
        let (special, after) = special.split_at(1);
        out.push_str(plain);
        match special {
            "\"" => out.push_str("\\\""),
            "\\" => out.push_str("\\\\"),
            "\u{8}" => out.push_str("\\b"),
            "\u{c}" => out.push_str("\\f"),
            "\n" => out.push_str("\\n"),
            "\r" => out.push_str("\\r"),
            "\t" => out.push_str("\\t"),
            _ => out.push_str(&format!("\\u{:04x}", special.as_bytes()[0])),
        }
        rest = after;
    }
    out.push_str(rest);
    out.push('"');
}

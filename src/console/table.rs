//! Tables as they go to clients: columns, values, and their bytes in text and binary format.
//!
//! Types are PostgreSQL's, so that drivers read them as they read any other result. Rows are made
//! one at a time, while they are sent.

use crate::wire::frame::put_header;

/// Type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Int4,
    Int8,
    Numeric,
}

impl Type {
    /// Its row in `pg_type`.
    fn oid(self) -> u32 {
        match self {
            Self::Text => 25,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Numeric => 1700,
        }
    }

    /// Bytes of a value; -1: that depends.
    fn size(self) -> i16 {
        match self {
            Self::Text | Self::Numeric => -1,
            Self::Int4 => 4,
            Self::Int8 => 8,
        }
    }
}

/// A column: its name and type.
pub(super) type Column = (&'static str, Type);

/// One field of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Fixed(&'static str),
    Text(String),
    /// Of an [`Type::Int4`] it shows no more than fits.
    Number(u64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Fixed(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Number(u64::from(yes))
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

/// One row.
pub(super) type Row = Vec<Value>;

/// What a SHOW gives.
pub(super) struct Table {
    pub(super) columns: &'static [Column],
    pub(super) rows: Box<dyn Iterator<Item = Row> + Send>,
}

impl Table {
    pub(super) fn new<I>(columns: &'static [Column], rows: I) -> Self
    where
        I: IntoIterator<Item = Row>,
        I::IntoIter: Send + 'static,
    {
        Self {
            columns,
            rows: Box::new(rows.into_iter()),
        }
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

/// The format of each column, as a Bind asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Formats {
    All(Format),
    Each(Vec<Format>),
}

impl Formats {
    fn of(&self, column: usize) -> Format {
        match self {
            Self::All(format) => *format,
            Self::Each(formats) => formats.get(column).copied().unwrap_or(Format::Text),
        }
    }

    /// Whether they fit a result of so many columns.
    pub(super) fn fit(&self, columns: usize) -> bool {
        match self {
            Self::All(_) => true,
            Self::Each(formats) => formats.len() == columns,
        }
    }
}

/// Appends a RowDescription (manual, 55.7).
pub(super) fn put_description(out: &mut Vec<u8>, columns: &[Column], formats: &Formats) {
    put_counted(out, b'T', columns.len(), |body| {
        for (at, (name, kind)) in columns.iter().enumerate() {
            body.extend_from_slice(name.as_bytes());
            // NUL, no table, no attribute number.
            body.extend_from_slice(&[0; 7]);
            body.extend_from_slice(&kind.oid().to_be_bytes());
            body.extend_from_slice(&kind.size().to_be_bytes());
            body.extend_from_slice(&(-1_i32).to_be_bytes());
            let format = u16::from(formats.of(at) == Format::Binary);
            body.extend_from_slice(&format.to_be_bytes());
        }
    });
}

/// Appends a DataRow.
pub(super) fn put_row(out: &mut Vec<u8>, columns: &[Column], row: &[Value], formats: &Formats) {
    debug_assert_eq!(columns.len(), row.len(), "{columns:?} {row:?}");
    put_counted(out, b'D', row.len(), |body| {
        for (at, (value, (_, kind))) in row.iter().zip(columns).enumerate() {
            put_value(body, value, *kind, formats.of(at));
        }
    });
}

fn put_counted(out: &mut Vec<u8>, tag: u8, count: usize, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    let count = u16::try_from(count).expect("tables have few columns");
    body.extend_from_slice(&count.to_be_bytes());
    fill(&mut body);
    put_header(out, tag, body.len());
    out.extend_from_slice(&body);
}

fn put_value(body: &mut Vec<u8>, value: &Value, kind: Type, format: Format) {
    match (value, format) {
        (Value::Null, _) => body.extend_from_slice(&(-1_i32).to_be_bytes()),
        (Value::Fixed(text), _) => put_field(body, text.as_bytes()),
        (Value::Text(text), _) => put_field(body, text.as_bytes()),
        (Value::Number(number), Format::Text) => {
            let number = match kind {
                Type::Int4 => int4(*number).to_string(),
                Type::Int8 | Type::Numeric | Type::Text => number.to_string(),
            };
            put_field(body, number.as_bytes());
        }
        (Value::Number(number), Format::Binary) => match kind {
            Type::Int4 => put_field(body, &int4(*number).to_be_bytes()),
            Type::Int8 => {
                let number = i64::try_from(*number).unwrap_or(i64::MAX);
                put_field(body, &number.to_be_bytes());
            }
            Type::Numeric => put_field(body, &numeric(*number)),
            Type::Text => put_field(body, number.to_string().as_bytes()),
        },
    }
}

fn int4(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn put_field(body: &mut Vec<u8>, bytes: &[u8]) {
    let len = i32::try_from(bytes.len()).expect("values of tables are short");
    body.extend_from_slice(&len.to_be_bytes());
    body.extend_from_slice(bytes);
}

/// PostgreSQL's binary form of a whole number that is not negative (`numeric_send`): count of digits,
/// weight of the first one, sign, scale; digits to the base of 10,000 without zeros behind.
fn numeric(mut number: u64) -> Vec<u8> {
    let mut digits = Vec::new();
    while number > 0 {
        let digit = u16::try_from(number % 10_000).expect("less than 10,000");
        digits.push(digit);
        number /= 10_000;
    }
    let weight = digits.len().saturating_sub(1);
    digits.reverse();
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let short = |n: usize| u16::try_from(n).expect("five digits at most");
    let head = [short(digits.len()), short(weight), 0, 0];
    head.iter()
        .chain(&digits)
        .flat_map(|n| n.to_be_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        ("name", Type::Text),
        ("small", Type::Int4),
        ("large", Type::Int8),
        ("total", Type::Numeric),
    ];

    fn row(formats: &Formats, number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let row = [
            Value::Fixed("x"),
            number.into(),
            number.into(),
            number.into(),
        ];
        put_row(&mut out, COLUMNS, &row, formats);
        out
    }

    #[test]
    fn rows_in_text_and_in_binary() {
        assert_eq!(
            row(&Formats::All(Format::Text), 7),
            b"D\0\0\0\x1a\0\x04\0\0\0\x01x\0\0\0\x017\0\0\0\x017\0\0\0\x017"
        );
        assert_eq!(
            row(&Formats::All(Format::Binary), 7),
            b"D\0\0\0\x2d\0\x04\0\0\0\x01x\0\0\0\x04\0\0\0\x07\
              \0\0\0\x08\0\0\0\0\0\0\0\x07\0\0\0\x0a\0\x01\0\0\0\0\0\0\0\x07"
        );
    }

    #[test]
    fn large_numbers_stop_at_what_the_type_holds() {
        let bytes = row(&Formats::All(Format::Text), u64::MAX);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("2147483647") && text.contains("18446744073709551615"));
        let mixed = Formats::Each(vec![
            Format::Text,
            Format::Binary,
            Format::Text,
            Format::Text,
        ]);
        let bytes = row(&mixed, u64::MAX);
        assert!(bytes.windows(4).any(|w| w == i32::MAX.to_be_bytes()));
        assert!(mixed.fit(4) && !mixed.fit(3));
    }

    #[test]
    fn numerics_are_those_of_postgresql() {
        // From `select encode(numeric_send(n), 'hex')`.
        for (number, hex) in [
            (0, "0000000000000000"),
            (1, "00010000000000000001"),
            (10_000, "00010001000000000001"),
            (123_456_789, "0003000200000000000109291a85"),
            (20_000_000_050, "000300020000000000c800000032"),
        ] {
            let bytes: String = numeric(number).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(bytes, hex, "{number}");
        }
    }

    #[test]
    fn descriptions_name_type_and_format() {
        let mut out = Vec::new();
        put_description(&mut out, &COLUMNS[1..2], &Formats::All(Format::Binary));
        assert_eq!(
            out,
            b"T\0\0\0\x1e\0\x01small\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01"
        );
    }
}

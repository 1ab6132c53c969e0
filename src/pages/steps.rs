//! The steps in which a plain template becomes text: what Handlebars would do with it, without copies of the data and
//! without a search for what was known before. How a template becomes steps is in `joined`.

use super::data::Data;
use super::escape;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes this.
    Text(String),
    /// Writes a value, escaped or not.
    Value(Path, bool),
    /// The same for a text within a message; nothing else may stand there.
    Word(Path, bool),
    /// `if` and `unless`, `{{else}}` and all: the steps for yes, and those for no.
    If(Path, Vec<Step>, Vec<Step>),
    /// `each`: steps for each item of a list. Without `{{else}}`, something that is no list is an error.
    Each(Path, Vec<Step>, Option<Vec<Step>>),
    /// `with`: steps for a value. Without `{{else}}`, nothing is an error.
    With(Path, Vec<Step>, Option<Vec<Step>>),
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// From the root of the data.
    Root(Vec<String>),
    /// From what the block around is about.
    Here(Vec<String>),
    /// `@index`.
    Index,
    /// `@first`.
    First,
    /// `@last`.
    Last,
}

/// Something is not as steps can do it: only Handlebars knows whether that is an error.
#[derive(Debug)]
pub struct Beyond;

/// Where `each` is.
#[derive(Clone, Copy)]
struct Turn {
    index: usize,
    last: bool,
}

struct Run<'d> {
    root: &'d Data<'d>,
    written: String,
}

/// The text that the steps write.
pub fn run(steps: &[Step], data: &Data<'_>) -> Result<String, Beyond> {
    // Most pages are not larger.
    let mut run = Run { root: data, written: String::with_capacity(8 * 1024) };
    run.all(steps, data, None)?;
    Ok(run.written)
}

/// A value, or what stands for one.
#[derive(Clone, Copy)]
enum Found<'d> {
    Data(&'d Data<'d>),
    Number(usize),
    Bool(bool),
}

impl<'d> Run<'d> {
    fn all(&mut self, steps: &[Step], here: &'d Data<'d>, turn: Option<Turn>) -> Result<(), Beyond> {
        for step in steps {
            match step {
                Step::Text(text) => self.written.push_str(text),
                Step::Value(path, escaped) => {
                    let value = self.find(path, here, turn)?.ok_or(Beyond)?;
                    self.write(value, *escaped)?;
                }
                Step::Word(path, escaped) => match self.find(path, here, turn)? {
                    Some(value @ Found::Data(Data::Text(_))) => self.write(value, *escaped)?,
                    _ => return Err(Beyond),
                },
                Step::If(path, yes, no) => {
                    let value = self.find(path, here, turn)?;
                    let is_met = value.is_some_and(Found::is_truthy);
                    self.all(if is_met { yes } else { no }, here, turn)?;
                }
                Step::Each(path, steps, otherwise) => match (self.find(path, here, turn)?, otherwise) {
                    (Some(Found::Data(Data::List(items))), otherwise) if !items.is_empty() || otherwise.is_none() => {
                        for (index, item) in items.iter().enumerate() {
                            self.all(steps, item, Some(Turn { index, last: index + 1 == items.len() }))?;
                        }
                    }
                    (Some(Found::Data(Data::Fields(_))), _) | (_, None) => return Err(Beyond),
                    (_, Some(steps)) => self.all(steps, here, turn)?,
                },
                Step::With(path, steps, otherwise) => match (self.find(path, here, turn)?, otherwise) {
                    (Some(Found::Data(value)), _) if value.is_truthy() => self.all(steps, value, turn)?,
                    (Some(Found::Number(_) | Found::Bool(_)), _) | (_, None) => return Err(Beyond),
                    (_, Some(steps)) => self.all(steps, here, turn)?,
                },
            }
        }
        Ok(())
    }

    fn find(&self, path: &Path, here: &'d Data<'d>, turn: Option<Turn>) -> Result<Option<Found<'d>>, Beyond> {
        let (mut found, names) = match path {
            Path::Root(names) => (self.root, names),
            Path::Here(names) => (here, names),
            Path::Index => return Ok(turn.map(|turn| Found::Number(turn.index))),
            Path::First => return Ok(turn.map(|turn| Found::Bool(turn.index == 0))),
            Path::Last => return Ok(turn.map(|turn| Found::Bool(turn.last))),
        };
        for name in names {
            if let Data::List(_) = found {
                return Err(Beyond);
            }
            let Some(value) = found.get(name) else { return Ok(None) };
            found = value;
        }
        Ok(Some(Found::Data(found)))
    }

    fn write(&mut self, value: Found<'_>, escaped: bool) -> Result<(), Beyond> {
        match value {
            Found::Data(Data::Text(text)) if escaped => escape::html(text, &mut self.written),
            Found::Data(Data::Text(text)) => self.written.push_str(text),
            Found::Data(Data::Nothing) => {}
            Found::Data(Data::Number(number)) => self.written.push_str(&number.to_string()),
            Found::Number(number) => self.written.push_str(&number.to_string()),
            Found::Data(Data::Bool(yes)) => self.written.push_str(&yes.to_string()),
            Found::Bool(yes) => self.written.push_str(&yes.to_string()),
            Found::Data(Data::List(_) | Data::Fields(_)) => return Err(Beyond),
        }
        Ok(())
    }
}

impl Found<'_> {
    fn is_truthy(self) -> bool {
        match self {
            Self::Data(value) => value.is_truthy(),
            Self::Number(number) => number != 0,
            Self::Bool(yes) => yes,
        }
    }
}

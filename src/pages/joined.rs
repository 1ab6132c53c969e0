//! How a page's template becomes steps: every partial in its place, and as text already what the page and its language
//! alone decide. Handlebars has parsed the templates, and shows them well; but it copies all that a page is made of for
//! each partial that it enters, and looks for words whenever they are shown.
//!
//! The steps write what Handlebars would. A page that is made in a way that only Handlebars itself follows (`../`, block
//! parameters, inline partials, computed names) gets none, and is left to it.

use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{
    Context, Handlebars, JsonRender as _, JsonTruthy as _, Path as Written, PathSeg, RenderContext, Template,
};
use serde_json::{Map, Value};

use super::escape;
use super::messages::next_placeholder;
use super::steps::{Path, Step};

/// Partials within partials; more are taken for partials that use themselves.
const DEEPEST: usize = 8;

/// Helpers, for which a name without anything after it may stand as well as for a value.
const HELPERS: [&str; 19] = [
    "if", "unless", "each", "with", "lookup", "raw", "log", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not",
    "len", "t", "asset",
];

/// Makes steps of templates.
pub struct Joiner<'a> {
    registry: &'a Handlebars<'a>,
    known: Context,
    message: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// Something that only Handlebars itself follows.
#[derive(Debug)]
pub struct Unusual;

type Joined<T> = Result<T, Unusual>;

/// Where a part stands.
#[derive(Clone, Copy)]
struct Scope<'s> {
    here: Here<'s>,
    /// What the partials around were given by name, the innermost last.
    named: &'s [(&'s str, Given)],
    /// Whether Handlebars would have added some of that to what `this` is.
    widened: bool,
    /// What stands between the tags of the partial's call.
    block: Option<&'s [Step]>,
    /// Partials around.
    depth: usize,
}

/// Where paths begin.
#[derive(Clone, Copy)]
enum Here<'s> {
    /// At the root of the data.
    Page,
    /// At what a block around is about: an item of `each`.
    Item,
    /// At what the partial was given.
    Given(&'s Path),
}

/// What is written, or given to a helper or a partial.
#[derive(Clone)]
enum Given {
    Known(Value),
    Path(Path),
    /// A message: words, and the values among them.
    Message(Vec<Given>),
}

impl<'a> Joiner<'a> {
    /// For the templates of `registry`, where some values at the root of the data are known, and each key's message, with
    /// its placeholders.
    pub fn new(
        registry: &'a Handlebars<'a>,
        known: Map<String, Value>,
        message: &'a dyn Fn(&str) -> Option<&'a str>,
    ) -> Self {
        Self { registry, known: Value::Object(known).into(), message }
    }

    /// The steps of a page.
    pub fn page(&self, name: &str) -> Joined<Vec<Step>> {
        let scope = Scope { here: Here::Page, named: &[], widened: false, block: None, depth: 0 };
        self.template(self.registry.get_template(name).ok_or(Unusual)?, scope)
    }

    fn template(&self, template: &Template, scope: Scope<'_>) -> Joined<Vec<Step>> {
        let mut steps = Vec::new();
        for element in &template.elements {
            let more = match element {
                TemplateElement::Comment(_) => Vec::new(),
                TemplateElement::RawString(text) => vec![Step::Text(text.clone())],
                TemplateElement::Expression(call) => written(self.expression(call, scope)?, true),
                TemplateElement::HtmlExpression(call) => written(self.expression(call, scope)?, false),
                TemplateElement::HelperBlock(call) => self.block(call, scope)?,
                TemplateElement::PartialExpression(call) | TemplateElement::PartialBlock(call) => {
                    self.partial(call, scope)?
                }
                _ => return Err(Unusual),
            };
            for step in more {
                push(&mut steps, step);
            }
        }
        Ok(steps)
    }

    /// `{{value}}` or `{{helper value}}`.
    fn expression(&self, call: &HelperTemplate, scope: Scope<'_>) -> Joined<Given> {
        let alone = call.params.is_empty() && call.hash.is_empty();
        match alone && !call.name.as_name().is_some_and(|name| HELPERS.contains(&name)) {
            true => self.given(&call.name, scope),
            false => self.made(call, scope),
        }
    }

    /// `{{#helper value}}…{{else}}…{{/helper}}`.
    fn block(&self, call: &HelperTemplate, scope: Scope<'_>) -> Joined<Vec<Step>> {
        let name = call.name.as_name().ok_or(Unusual)?;
        let ([value], true, None) = (&*call.params, call.hash.is_empty(), &call.block_param) else {
            return Err(Unusual);
        };
        let value = self.given(value, scope)?;
        let item = Scope { here: Here::Item, widened: false, block: None, ..scope };
        let inside = if matches!(name, "each" | "with") { item } else { scope };
        let steps = call.template.as_ref().map(|template| self.template(template, inside)).transpose()?;
        let otherwise = call.inverse.as_ref().map(|template| self.template(template, scope)).transpose()?;
        let steps = steps.unwrap_or_default();
        let (yes, no) = match name {
            "if" => (steps, otherwise.unwrap_or_default()),
            "unless" => (otherwise.unwrap_or_default(), steps),
            "each" | "with" => {
                let Given::Path(path) = value else { return Err(Unusual) };
                let step = if name == "each" { Step::Each } else { Step::With };
                return Ok(vec![step(path, steps, otherwise)]);
            }
            _ => return Err(Unusual),
        };
        match value {
            Given::Known(value) => Ok(if value.is_truthy(false) { yes } else { no }),
            Given::Path(path) => Ok(vec![Step::If(path, yes, no)]),
            Given::Message(_) => Err(Unusual),
        }
    }

    /// `{{> name}}`, `{{> name path}}`, `{{#> name key=value}}…{{/name}}`, `{{> @partial-block}}`.
    fn partial(&self, call: &DecoratorTemplate, scope: Scope<'_>) -> Joined<Vec<Step>> {
        let name = call.name.as_name().ok_or(Unusual)?;
        if name == "@partial-block" {
            return scope.block.map(<[_]>::to_vec).ok_or(Unusual);
        }
        let template = self.registry.get_template(name).ok_or(Unusual)?;
        if scope.depth == DEEPEST || call.indent.is_some() {
            return Err(Unusual);
        }
        let given = match &*call.params {
            [] => None,
            [value] => match self.given(value, scope)? {
                Given::Path(path @ (Path::Root(_) | Path::Here(_))) => Some(path),
                _ => return Err(Unusual),
            },
            _ => return Err(Unusual),
        };
        let mut named = scope.named.to_vec();
        for (name, value) in &call.hash {
            named.push((name, self.given(value, scope)?));
        }
        let around = Scope {
            here: given.as_ref().map_or(scope.here, Here::Given),
            named: &named,
            widened: !call.hash.is_empty() || (scope.widened && given.is_none()),
            block: scope.block,
            depth: scope.depth + 1,
        };
        let block = call.template.as_ref().map(|block| self.template(block, around)).transpose()?;
        self.template(template, Scope { block: block.as_deref(), ..around })
    }

    /// What is given, if that can be said beforehand.
    fn given(&self, value: &Parameter, scope: Scope<'_>) -> Joined<Given> {
        match value {
            Parameter::Literal(value) => Ok(Given::Known(value.clone())),
            Parameter::Subexpression(inner) => match inner.as_element() {
                TemplateElement::Expression(call) => self.made(call, scope),
                _ => Err(Unusual),
            },
            Parameter::Path(Written::Local((0, name, _))) => match name.as_str() {
                "index" => Ok(Given::Path(Path::Index)),
                "first" => Ok(Given::Path(Path::First)),
                "last" => Ok(Given::Path(Path::Last)),
                _ => Err(Unusual),
            },
            Parameter::Path(Written::Relative((path, raw))) => {
                let names: Vec<String> = path.iter().filter_map(name).collect();
                match path.len() - names.len() {
                    0 => self.path(names, scope),
                    1 if raw.starts_with("@root") => Ok(Given::Path(Path::Root(names))),
                    _ => Err(Unusual),
                }
            }
            _ => Err(Unusual),
        }
    }

    /// What a path of plain names leads to.
    fn path(&self, names: Vec<String>, scope: Scope<'_>) -> Joined<Given> {
        let first = names.first().map(String::as_str);
        if let Some((_, given)) = scope.named.iter().rev().find(|(name, _)| Some(*name) == first) {
            // A path leads elsewhere from an item.
            let stays = matches!(given, Given::Known(_) | Given::Path(Path::Root(_)));
            return if names.len() == 1 && (stays || !matches!(scope.here, Here::Item)) {
                Ok(given.clone())
            } else {
                Err(Unusual)
            };
        }
        match (scope.here, &*names) {
            (_, []) if scope.widened => Err(Unusual),
            (Here::Page, [name]) if let Some(known) = self.known.data().get(name) => Ok(Given::Known(known.clone())),
            (Here::Page, _) => Ok(Given::Path(Path::Root(names))),
            (Here::Item, _) => Ok(Given::Path(Path::Here(names))),
            (Here::Given(Path::Root(given)), _) => Ok(Given::Path(Path::Root([&**given, &names].concat()))),
            (Here::Given(Path::Here(given)), _) => Ok(Given::Path(Path::Here([&**given, &names].concat()))),
            (Here::Given(_), _) => Err(Unusual),
        }
    }

    /// What a helper makes of what it is given, if that is known, or if it is a message.
    fn made(&self, call: &HelperTemplate, scope: Scope<'_>) -> Joined<Given> {
        let mut known = call.clone();
        let mut is_known = true;
        for value in known.params.iter_mut().chain(known.hash.values_mut()) {
            match self.given(value, scope)? {
                Given::Known(given) => *value = Parameter::Literal(given),
                Given::Path(_) | Given::Message(_) => is_known = false,
            }
        }
        if !is_known {
            return self.message(call, scope);
        }
        let made = Parameter::Subexpression(Subexpression::new(known.name, known.params, known.hash));
        let made = made.expand(self.registry, &self.known, &mut RenderContext::new(None)).map_err(|_| Unusual)?;
        Ok(Given::Known(made.value().clone()))
    }

    /// `{{t "key" name=value}}`.
    fn message(&self, call: &HelperTemplate, scope: Scope<'_>) -> Joined<Given> {
        let (Some("t"), [Parameter::Literal(Value::String(key))]) = (call.name.as_name(), &*call.params) else {
            return Err(Unusual);
        };
        let mut rest = (self.message)(key).ok_or(Unusual)?;
        let mut parts = Vec::new();
        while let Some((before, name, after)) = next_placeholder(rest) {
            parts.push(Given::Known(before.into()));
            parts.push(self.given(call.hash.get(name).ok_or(Unusual)?, scope)?);
            rest = after;
        }
        parts.push(Given::Known(rest.into()));
        Ok(Given::Message(parts))
    }
}

/// The name in a part of a path, where it is one.
fn name(part: &PathSeg) -> Option<String> {
    match part {
        PathSeg::Named(name) => Some(name.clone()),
        _ => None,
    }
}

/// The steps that write something.
fn written(given: Given, escaped: bool) -> Vec<Step> {
    match given {
        Given::Known(value) if escaped => {
            let mut text = String::new();
            escape::html(&value.render(), &mut text);
            vec![Step::Text(text)]
        }
        Given::Known(value) => vec![Step::Text(value.render())],
        Given::Path(path) => vec![Step::Value(path, escaped)],
        Given::Message(parts) => parts
            .into_iter()
            .flat_map(|part| match part {
                Given::Path(path) => vec![Step::Word(path, escaped)],
                part => written(part, escaped),
            })
            .collect(),
    }
}

/// Texts that follow each other become one.
fn push(steps: &mut Vec<Step>, step: Step) {
    match (steps.last_mut(), step) {
        (Some(Step::Text(before)), Step::Text(text)) => before.push_str(&text),
        (_, step) => steps.push(step),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::data::Data;
    use super::super::steps::run;
    use super::*;

    fn data() -> Data<'static> {
        Data::fields([
            ("locale", "en".into()),
            ("kind", "page".into()),
            ("part", "q".into()),
            ("title", "no title".into()),
            (
                "a",
                Data::fields([
                    ("b", "<b>".into()),
                    ("c", Data::fields([("b", "c.b".into())])),
                    (
                        "list",
                        Data::List(vec![
                            Data::fields([("b", "1".into()), ("a", Data::fields([("b", "1.a.b".into())]))]),
                            Data::fields([("b", "2".into()), ("list", vec!["p", "q"].into())]),
                        ]),
                    ),
                ]),
            ),
            ("b", "B=b".into()),
            ("list", vec!["l", "m"].into()),
            ("none", Data::List(Vec::new())),
            ("yes", true.into()),
            ("no", false.into()),
            ("number", 7_u32.into()),
            ("nothing", Data::Nothing),
        ])
    }

    /// A registry whose helper `t` greets.
    fn registry(strict: bool, templates: &[(&str, &str)]) -> Option<Handlebars<'static>> {
        handlebars::handlebars_helper!(t: |key: str, {name: str = "nobody"}| format!("{key}: Hi {name}!"));
        let mut registry = Handlebars::new();
        registry.set_strict_mode(strict);
        registry.set_prevent_indent(true);
        registry.register_helper("t", Box::new(t));
        for (name, source) in templates {
            registry.register_template_string(name, source).ok()?;
        }
        Some(registry)
    }

    fn steps(registry: &Handlebars<'_>) -> Joined<Vec<Step>> {
        let known = ["locale", "kind"].map(|name| (name.to_owned(), serde_json::to_value(data().get(name)).unwrap()));
        Joiner::new(registry, known.into_iter().collect(), &|key| {
            ["greeting", "other"]
                .contains(&key)
                .then(|| if key == "other" { "other: Hi {name}!" } else { "greeting: Hi {name}!" })
        })
        .page("page")
    }

    /// Asserts that the page has steps, and that they show what Handlebars shows.
    fn joins(templates: &[(&str, &str)]) -> Vec<Step> {
        let registry = registry(true, templates).unwrap();
        let steps = steps(&registry).unwrap_or_else(|Unusual| panic!("{templates:?}"));
        assert_eq!(run(&steps, &data()).unwrap(), registry.render("page", &data()).unwrap(), "{templates:?}");
        steps
    }

    /// Asserts that Handlebars shows the page, and that it is left to it.
    fn stays(templates: &[(&str, &str)]) {
        let registry = registry(true, templates).unwrap();
        registry.render("page", &data()).unwrap();
        assert!(steps(&registry).is_err(), "{templates:?}");
    }

    #[test]
    fn a_page_of_known_things_is_one_text() {
        let steps = joins(&[
            (
                "page",
                "{{#> layout title=(t \"greeting\")}}\n<p>{{t \"other\" name=kind}}</p>{{! not this }}\n{{/layout}}\n",
            ),
            (
                "layout",
                "<i lang=\"{{locale}}\">{{title}}</i>\n{{> part}}\n{{> @partial-block}}{{#unless (eq kind \"error\")}}!{{/unless}}",
            ),
            ("part", "{{#if title}}part of {{title}}{{else}}{{nothing.at.all}}{{/if}}"),
        ]);
        assert!(matches!(&*steps, [Step::Text(_)]), "{steps:?}");
    }

    #[test]
    fn partials_see_what_they_were_given() {
        joins(&[("page", "{{> p a}}{{> p this.a.c}}"), ("p", "[{{b}}{{this.b}}{{@root.b}}{{#if ./c}}{{c.b}}{{/if}}]")]);
        joins(&[
            ("page", "{{#each a.list}}{{@index}}{{> p this}}{{> q this.a}}{{/each}}"),
            ("p", "{{b}}{{@first}}"),
            ("q", "{{#if b}}{{b}}{{/if}}"),
        ]);
        joins(&[
            ("page", "{{> p a}}"),
            ("p", "{{#each list}}{{b}}{{#if a}}{{#with a}}{{b}}{{/with}}{{/if}}{{/each}}{{> q c}}"),
            ("q", "{{b}}"),
        ]);
        joins(&[("page", "{{> p b}}{{> p a.c.b}}"), ("p", "{{this}}")]);
        joins(&[("page", "{{> p x=b}}{{> p x=a.c.b}}{{> p x=\"<\"}}"), ("p", "{{x}}{{{x}}}{{#if x}}{{b}}{{/if}}")]);
        joins(&[
            ("page", "{{#> p}}{{#> q}}{{b}}{{/q}}{{/p}}"),
            ("p", "<{{> @partial-block}}|{{> @partial-block}}>"),
            ("q", "({{> @partial-block}})"),
        ]);
    }

    #[test]
    fn what_only_handlebars_follows_is_left_to_it() {
        for part in [
            "{{#each list}}{{../b}}{{/each}}",
            "{{#each list as |x|}}{{x}}{{/each}}",
            "{{#with a as |x|}}{{x.b}}{{/with}}",
        ] {
            stays(&[
                ("page", "{{> p a}}{{> p}}"),
                ("p", &part.replace("list", "@root.list").replace("with a", "with @root.a")),
            ]);
        }
        stays(&[("page", "{{#*inline \"p\"}}{{b}}{{/inline}}{{> p}}"), ("p", "not this")]);
        stays(&[("page", "{{#> p}}{{#*inline \"q\"}}{{b}}{{/inline}}{{/p}}"), ("p", "{{> q}}"), ("q", "not this")]);
        stays(&[
            ("page", "{{> (lookup this \"part\")}}{{> p}}"),
            ("p", "{{> r x=b}}"),
            ("q", "!"),
            ("r", "{{#each list}}{{x}}{{/each}}"),
        ]);
        stays(&[("page", "{{#> nowhere}}else{{/nowhere}}")]);
        stays(&[("page", "{{> p x=b}}"), ("p", "{{#each this}}{{@key}}{{/each}}")]);
    }

    #[test]
    fn partials_that_use_themselves_come_to_an_end() {
        let templates = [("page", "{{> p a}}"), ("p", "{{b}}{{#if c}}{{> q c}}{{/if}}"), ("q", "{{> p this}}")];
        let registry = registry(true, &templates).unwrap();
        assert!(registry.render("page", &data()).is_ok());
        assert!(steps(&registry).is_err());
    }

    /// Something that stands in a template; partials only those of later letters than `level`.
    fn template(level: usize) -> impl Strategy<Value = String> {
        let plain =
            ["a", "b", "this.b", "a.b", "a.c", "c.b", "a.list", "list", "yes", "no", "x", "title", "@root.b", "locale"];
        let odd = ["this", "nothing", "missing", "x.b", "../b", "../../a.b", "@index", "@../index", "this.kind", "len"];
        let path = prop_oneof![4 => prop::sample::select(plain.to_vec()), 1 => prop::sample::select(odd.to_vec())];
        let leaf = prop_oneof![
            4 => "[ \n<é]{1,3}",
            6 => path.clone().prop_map(|path| format!("{{{{{path}}}}}")),
            1 => path.clone().prop_map(|path| format!("{{{{{{{path}}}}}}}")),
            1 => Just("{{t \"greeting\"}}".to_owned()),
            1 => path.clone().prop_map(|path| format!("{{{{t \"greeting\" name={path}}}}}")),
            1 => Just("{{> @partial-block}}".to_owned()),
            1 => Just("{{! comment }}".to_owned()),
        ];
        let partial =
            prop::sample::select([&["p", "q", "r"][level..], &["p", "q", "r"][level..], &["missing"]].concat());
        leaf.prop_recursive(3, 12, 3, move |inner| {
            let inner = prop::collection::vec(inner, 0..4).prop_map(|parts| parts.concat());
            let block = prop::sample::select(vec!["if", "unless", "each", "with"]);
            let given = prop_oneof![
                3 => Just(String::new()),
                3 => path.clone().prop_map(|path| format!(" {path}")),
                2 => path.clone().prop_map(|path| format!(" x={path}")),
                1 => Just(" title=(t \"other\")".to_owned()),
                1 => Just(" x=\"lit\"".to_owned()),
                1 => (path.clone(), path.clone()).prop_map(|(path, x)| format!(" {path} x={x}")),
            ];
            prop_oneof![
                3 => (block.clone(), path.clone(), inner.clone(), inner.clone()).prop_map(|(block, path, yes, no)| format!(
                    "{{{{#{block} {path}}}}}{yes}{{{{else}}}}{no}{{{{/{block}}}}}"
                )),
                3 => (block, path.clone(), inner.clone())
                    .prop_map(|(block, path, yes)| format!("{{{{#{block} {path}}}}}{yes}{{{{/{block}}}}}")),
                1 => (path.clone(), inner.clone())
                    .prop_map(|(path, yes)| format!("{{{{#each {path} as |x|}}}}{yes}{{{{/each}}}}")),
                6 => (partial.clone(), given.clone()).prop_map(|(name, given)| format!("{{{{> {name}{given}}}}}")),
                6 => (partial.clone(), given, inner)
                    .prop_map(|(name, given, block)| format!("{{{{#> {name}{given}}}}}{block}{{{{/{name}}}}}")),
            ]
        })
    }

    fn templates() -> impl Strategy<Value = [String; 4]> {
        let whole = |level| prop::collection::vec(template(level), 1..3).prop_map(|parts| parts.concat());
        [whole(0).boxed(), whole(1).boxed(), whole(2).boxed(), whole(3).boxed()]
    }

    proptest! {
        #[test]
        fn steps_write_what_handlebars_writes([page, p, q, r] in templates(), strict: bool) {
            if let Some(registry) = registry(strict, &[("page", &page), ("p", &p), ("q", &q), ("r", &r)])
                && let (Ok(shown), Ok(steps)) = (registry.render("page", &data()), steps(&registry))
                && let Ok(written) = run(&steps, &data())
            {
                prop_assert_eq!(written, shown);
            }
        }
    }
}

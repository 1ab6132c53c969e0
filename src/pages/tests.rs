//! Tests of the pages as a whole.

use std::fs;

use tempfile::TempDir;

use serde_json::json;

use super::*;

const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{t \"x\"}}&lt;";

fn frame(tenant: Option<&TenantId>) -> Frame<'_> {
    Frame {
        tenant,
        display_name: Some("Acme Bank"),
        logo: None,
        accent: Some([0xc8, 0x10, 0x2e]),
        support_url: Some("https://acme.example/help"),
        base: "/acme",
        assets: "/assets",
        local: Some("/acme/login/local"),
        locale: Locale::En,
        request_id: "Zm9vYmFy",
    }
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

/// Every page in every language.
fn all_pages(pages: &Pages) -> Vec<(String, Locale, String)> {
    let claims = sample::claims();
    let tenant = acme();
    let mut all = Vec::new();
    for (number, page) in sample::pages(&claims, &sample::sessions()).iter().enumerate() {
        for locale in Locale::ALL {
            let html = pages.render(&Frame { locale, ..frame(Some(&tenant)) }, page).unwrap();
            all.push((format!("{number:02}-{}-{}", page.template(), locale.as_str()), locale, html));
        }
    }
    all
}

fn count(html: &str, part: &str) -> usize {
    html.matches(part).count()
}

fn overrides(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let folder = overrides(files);
    let prefix = format!("{}/", folder.path().display());
    let error = Pages::new(Some(folder.path())).unwrap_err();
    error.faults.iter().map(|fault| fault.to_string().replace(&prefix, "")).collect()
}

#[test]
fn every_page_has_steps_that_write_what_handlebars_writes() {
    let pages = Pages::new(None).unwrap();
    let (tenant, claims, sessions) = (acme(), sample::claims(), sample::sessions());
    let bare = Frame { logo: Some("/logo.svg"), support_url: None, local: None, ..frame(None) };
    for page in sample::pages(&claims, &sessions) {
        for (locale, frame) in
            Locale::ALL.into_iter().flat_map(|locale| [(locale, frame(Some(&tenant))), (locale, bare)])
        {
            let frame = Frame { locale, ..frame };
            let html = pages.render(&frame, &page).unwrap();
            let by_handlebars =
                pages.shared.by_handlebars(page.template(), &data(&pages.shared, &frame, &page)).unwrap();
            assert_eq!(html, by_handlebars);
            assert!(pages.shared.has_steps(page.template(), locale), "{}", page.template());
        }
    }
}

#[test]
fn every_page_in_every_language_is_well_built() {
    for (name, locale, html) in all_pages(&Pages::new(None).unwrap()) {
        assert!(html.starts_with("<!doctype html>"), "{name}");
        for once in ["<html ", "<title>", "<h1", "<main ", "<header ", "<footer "] {
            assert_eq!(count(&html, once), 1, "{once} in {name}");
        }
        assert!(html.contains(&format!("<html lang=\"{}\">", locale.as_str())), "{name}");
        assert!(!html.contains("<title> ·"), "{name} has no title");
        assert_eq!(count(&html, "<th "), count(&html, "<th scope="), "{name}");
        assert_eq!(count(&html, "<img "), count(&html, " alt="), "{name}");
        assert!(html.contains("Zm9vYmFy"), "{name} has no request id");
        assert!(html.contains("href=\"/assets/accent-c8102e.css\""), "{name}");
    }
}

#[test]
fn no_page_needs_what_the_content_security_policy_forbids() {
    for (name, _, html) in all_pages(&Pages::new(None).unwrap()) {
        for forbidden in ["<script", "<style", "style=", "javascript:", "<iframe", "<base"] {
            assert!(!html.contains(forbidden), "{forbidden} in {name}");
        }
        assert_eq!(handlers(&html), Vec::<&str>::new(), "{name}");
    }
}

/// Attributes such as `onclick=` within tags.
fn handlers(html: &str) -> Vec<&str> {
    let tags = html.split('<').skip(1).filter_map(|rest| Some(rest.split_once('>')?.0));
    tags.flat_map(str::split_whitespace).filter(|word| word.starts_with("on") && word.contains('=')).collect()
}

#[test]
fn every_link_to_an_asset_leads_to_one() {
    let pages = Pages::new(None).unwrap();
    let html = pages.render(&frame(None), &Page::Index).unwrap();
    let links: Vec<_> = html.split("\"/assets/").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
    assert_eq!(links.len(), 3);
    for link in links {
        let asset = pages.asset(link).unwrap();
        assert!(!asset.bytes.is_empty(), "{link}");
    }
    assert_eq!(pages.asset("style.css"), None);
    assert_eq!(pages.asset("../style.css"), None);
}

#[test]
fn the_ids_and_links_of_the_quickstart_are_there() {
    let pages = Pages::new(None).unwrap();
    let claims = sample::claims();
    let render = |page: &Page<'_>| pages.render(&frame(Some(&acme())), page).unwrap();
    let index = render(&Page::Index);
    assert!(index.contains("id=\"qsLoginBtn\" class=\"button\" href=\"/acme/login\""));
    assert!(index.contains("href=\"/acme/signup\""));
    let sessions = sample::sessions();
    let all = sample::pages(&claims, &sessions);
    let dashboard = render(all.iter().find(|page| matches!(page, Page::Dashboard(_))).unwrap());
    for part in [
        "<h1 id=\"logo\"",
        "Welcome, Ada Lovelace</h2>",
        "id=\"qsLogoutBtn\" class=\"button quiet\" href=\"/acme/logout\"",
        "src=\"https://pictures.example/ada.png\" alt=\"Picture of Ada Lovelace\"",
        "referrerpolicy=\"no-referrer\"",
        "<time datetime=\"2026-11-24T14:05:00Z\">24 November 2026, 14:05 UTC</time>",
        "&quot;email_verified&quot;: true",
    ] {
        assert!(dashboard.contains(part), "{part}");
    }
    assert!(render(&Page::ConfirmLogout).contains("method=\"post\" action=\"/acme/logout\""));
}

#[test]
fn hostile_values_are_escaped_wherever_they_stand() {
    let pages = Pages::new(None).unwrap();
    let claims: Map<String, Value> = [
        (HOSTILE, json!(HOSTILE)),
        ("sub", json!(HOSTILE)),
        ("groups", json!([HOSTILE, {HOSTILE: HOSTILE}])),
        ("address", json!({HOSTILE: HOSTILE})),
        ("exp", json!(HOSTILE)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    let session = SessionTimes {
        created: Timestamp(i64::MIN),
        idle_end: Timestamp(i64::MAX),
        absolute_end: Timestamp(0),
        ends: SessionEnd::Idle,
    };
    let hostile_sessions = [OwnSession {
        reference: HOSTILE.to_owned(),
        user_agent: Some(HOSTILE.to_owned()),
        address: None,
        created: Timestamp(i64::MIN),
        last_seen: Timestamp(i64::MAX),
        is_this: true,
    }];
    let picture = format!("https://x/{HOSTILE}");
    let frame = Frame {
        tenant: None,
        display_name: Some(HOSTILE),
        logo: Some(HOSTILE),
        support_url: Some(&picture),
        base: HOSTILE,
        assets: HOSTILE,
        local: Some(HOSTILE),
        request_id: HOSTILE,
        ..frame(None)
    };
    let tenant = LandingTenant { id: HOSTILE, display_name: None, base: HOSTILE };
    for page in [
        Page::Landing { tenants: vec![tenant] },
        Page::Index,
        Page::LocalLogin(LocalLogin { form: HOSTILE, username: HOSTILE, return_to: Some(HOSTILE), refused: true }),
        Page::LoggedOut,
        Page::ConfirmLogout,
        Page::Dashboard(Dashboard {
            name: HOSTILE,
            email: Some(&picture),
            picture: Some(&picture),
            claims: &claims,
            local: false,
            session,
            sessions: &hostile_sessions,
        }),
        Page::Error(ErrorPage { detail: Some(HOSTILE), ..error(ErrorText::BadRequest, HOSTILE) }),
        Page::Error(ErrorPage { provider_said: Some(HOSTILE), ..error(ErrorText::AccessDenied, HOSTILE) }),
    ] {
        let html = pages.render(&frame, &page).unwrap();
        assert!(html.contains("&lt;script&gt;"), "{page:?}");
        assert!(!html.contains("<script") && !html.contains("<img src=x"), "{page:?}");
        assert_eq!(handlers(&html), Vec::<&str>::new(), "{page:?}");
        // Each of our attributes opens and closes its quotes: no value broke out.
        for tag in html.split('<').skip(1).filter_map(|rest| Some(rest.split_once('>')?.0)) {
            assert_eq!(count(tag, "\"") % 2, 0, "{tag}");
        }
    }
}

#[test]
fn links_and_pictures_of_strange_schemes_are_left_out() {
    let pages = Pages::new(None).unwrap();
    let claims = Map::new();
    let session = SessionTimes {
        created: Timestamp(0),
        idle_end: Timestamp(1),
        absolute_end: Timestamp(2),
        ends: SessionEnd::Absolute,
    };
    let picture = Some("data:image/png;base64,AA");
    let page = Page::Dashboard(Dashboard {
        name: "Ada",
        email: None,
        picture,
        claims: &claims,
        local: false,
        session,
        sessions: &[],
    });
    let html = pages.render(&Frame { support_url: Some("javascript:alert(1)"), ..frame(None) }, &page).unwrap();
    assert!(!html.contains("javascript:") && !html.contains("data:") && !html.contains("<img"));
}

fn error(text: ErrorText, code: &str) -> ErrorPage<'_> {
    ErrorPage { status: 403, text, code, detail: None, provider_said: None }
}

#[test]
fn only_what_the_provider_said_is_ascribed_to_it() {
    let pages = Pages::new(None).unwrap();
    let render = |page| pages.render(&frame(Some(&acme())), &Page::Error(page)).unwrap();
    let ours = render(ErrorPage { detail: Some("max_age: is too large"), ..error(ErrorText::BadRequest, "x") });
    assert!(ours.contains("max_age: is too large") && !ours.contains("provider said"), "{ours}");
    let theirs = render(ErrorPage { provider_said: Some("not today"), ..error(ErrorText::AccessDenied, "x") });
    assert!(theirs.contains("not today") && theirs.contains("What the sign-in provider said"), "{theirs}");
}

#[test]
fn an_error_page_offers_only_what_leads_somewhere() {
    let pages = Pages::new(None).unwrap();
    let page = |text| Page::Error(error(text, "access_denied"));
    let html = pages.render(&frame(Some(&acme())), &page(ErrorText::AccessDenied)).unwrap();
    assert!(html.contains("class=\"button\" href=\"/acme/login?prompt&#x3D;login\""), "{html}");
    assert!(html.contains("class=\"button quiet\" href=\"/acme/logout\""));
    let nobody = Frame { base: "", ..frame(None) };
    let html = pages.render(&nobody, &page(ErrorText::AccessDenied)).unwrap();
    assert!(!html.contains("/login") && !html.contains("/logout"));
    let html = pages.render(&nobody, &page(ErrorText::NotFound)).unwrap();
    assert!(html.contains("class=\"button\" href=\"/\""));
}

#[test]
fn a_file_replaces_a_template_for_all_or_for_one_tenant() {
    let folder = overrides(&[
        ("index.hbs", "all: {{name}}"),
        ("acme/index.hbs", "acme: {{t \"index.log_in\"}} {{> note}}"),
        ("acme/note.hbs", "<{{locale}}>"),
        ("acme/messages/de.toml", "[index]\nlog_in = \"Rein da\""),
        ("acme/assets/style.css", "p { color: red }"),
        ("acme/.hidden.hbs", "{{"),
        ("Not A Tenant/index.hbs", "{{"),
        ("README.txt", "{{"),
    ]);
    let pages = Pages::new(Some(folder.path())).unwrap();
    let tenant = acme();
    let german = Frame { locale: Locale::De, ..frame(Some(&tenant)) };
    assert_eq!(pages.render(&german, &Page::Index).unwrap(), "acme: Rein da <de>");
    let globex = "globex".parse().unwrap();
    assert_eq!(pages.render(&frame(Some(&globex)), &Page::Index).unwrap(), "all: Acme Bank");
    let style = |frame| {
        let html = pages.render(&frame, &Page::LoggedOut).unwrap();
        let name = html.split("/assets/").find(|part| part.starts_with("style-")).unwrap().split('"').next().unwrap();
        (name.to_owned(), pages.asset(name).unwrap())
    };
    let (acme_name, acme_style) = style(german);
    let (globex_name, globex_style) = style(frame(Some(&globex)));
    assert_ne!(acme_name, globex_name, "another content, another name");
    assert_eq!(acme_style.bytes, "p { color: red }");
    assert!(globex_style.bytes.starts_with(b"/*"));
}

#[test]
fn broken_files_are_named_with_their_lines_all_at_once() {
    assert_eq!(
        faults(&[
            ("index.hbs", "<p>\n{{t \"index.nothing\"}}\n{{> nowhere}}\n{{asset \"no.css\"}}"),
            ("typo.hbs", "x"),
            ("messages/de.toml", "\n[index]\nlog_in = \"{oh}\""),
            ("messages/xx.toml", ""),
            ("assets/evil.js", ""),
        ])
        .iter()
        .map(|fault| fault.split_once("; there are").map_or(fault.as_str(), |(start, _)| start))
        .collect::<Vec<_>>(),
        [
            "assets/evil.js: is no asset: letters, digits, '-', '_' and one of .css .svg .png .jpg .webp .ico .woff2",
            "index.hbs:2: there is no message `index.nothing`",
            "index.hbs:3: there is no partial `nowhere`",
            "index.hbs:4: there is no asset `no.css`",
            "messages/de.toml:3: `log_in` has other placeholders than the shipped text: \"Anmelden\""
                .replace("`log_in", "`index.log_in")
                .as_str(),
            "messages/xx.toml: is no language of ours: en, de, fr, es, ja",
            "typo.hbs: replaces no template and is no partial of one",
        ]
    );
    let syntax = faults(&[("acme/error.hbs", "<p>\n{{#if page.code}}\n</p>")]);
    assert!(syntax[0].starts_with("acme/error.hbs:"), "{syntax:?}");
}

#[test]
fn data_that_no_page_has_is_found_when_a_template_is_loaded() {
    let found = faults(&[("acme/error.hbs", "<p>\n{{page.cod}}</p>"), ("globex/index.hbs", "{{t \"index.text\"}}")]);
    assert!(found[0].starts_with("acme/error.hbs:2: "), "{found:?}");
    assert_eq!(found[1], "globex/index.hbs:1: message `index.text` needs `name`");
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let error = Pages::new(Some(Path::new("no/such/folder"))).unwrap_err();
    assert!(error.to_string().starts_with("no/such/folder: cannot be read"), "{error}");
}

#[test]
fn every_month_has_a_name_in_every_language() {
    let theme = Theme::load(&[&Layer::embedded()]).unwrap();
    for locale in Locale::ALL {
        assert_eq!(theme.messages.get(locale, code_messages::TIME_MONTHS).unwrap().split(' ').count(), 12);
    }
}

/// Writes all pages to `$LYCHGATE_LOOK_AT`, for people who want to see them: `cargo test pages -- --ignored`.
#[test]
#[ignore = "for people, with LYCHGATE_LOOK_AT set to a folder"]
#[expect(clippy::disallowed_methods, reason = "no setting of the product")]
fn the_pages_can_be_looked_at() {
    let Ok(folder) = std::env::var("LYCHGATE_LOOK_AT") else { return };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder.join("assets")).unwrap();
    let pages = Pages::new(None).unwrap();
    for (name, asset) in &pages.assets {
        fs::write(folder.join("assets").join(name), &asset.bytes).unwrap();
    }
    for accent in [[0xc8, 0x10, 0x2e], accent::DEFAULT, [0xff, 0xd5, 0x00]] {
        let name = accent::file_name(accent);
        fs::write(folder.join("assets").join(&name), pages.asset(&name).unwrap().bytes).unwrap();
    }
    for (name, _, html) in all_pages(&pages) {
        fs::write(folder.join(format!("{name}.html")), html.replace("\"/assets/", "\"assets/")).unwrap();
    }
}

#[test]
fn no_error_text_is_forgotten() {
    assert!(ErrorText::ALL.iter().enumerate().all(|(number, text)| *text as usize == number));
    assert_eq!(ErrorText::ALL.len(), ErrorText::Internal as usize + 1);
}

//! Every figure is shown by a chapter and described, and what a chapter quotes of one is in it. That they
//! are those drawn is tested where they are drawn, in `docs/draw/`.

use crate::root;

#[test]
fn every_figure_is_shown_and_described() {
    let pages = crate::pages();
    let mut figures = 0;
    for entry in std::fs::read_dir(root().join("docs/figures")).expect("a folder") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        let Some(figure) = name.strip_suffix(".svg") else {
            continue;
        };
        figures += 1;
        let shown = format!("][fig-{figure}]");
        assert!(
            pages.iter().any(|(_, page)| page.contains(&shown)),
            "no chapter shows {name}"
        );
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        for part in ["<title>", "<desc>", "prefers-color-scheme:dark"] {
            assert!(text.contains(part), "{name} has no {part}");
        }
        for wrong in ["NaN", "inf", "\"-0\"", "var("] {
            assert!(!text.contains(wrong), "{name} has {wrong}");
        }
    }
    assert!(figures >= 20, "only {figures} figures were found");
}

/// What chapter 9 says of its figure is what the figure was drawn with.
#[test]
fn chapter_nine_quotes_its_figure() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("a page");
    let (page, figure) = (read("docs/09-oracle.md"), read("docs/figures/stages.svg"));
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for (said, drawn) in [
        ("it is 43 tolerances off in the kernel", ">43 ×<"),
        ("but only 0.7 in the output", ">0.7 ×<"),
    ] {
        assert!(
            page.contains(said) && figure.contains(drawn),
            "{said}, {drawn}"
        );
    }
}

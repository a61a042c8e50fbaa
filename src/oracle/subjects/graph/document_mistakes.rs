//! The mistakes of operators at the boundaries of documents, in words.

use crate::oracle::mistake::Mistake;

/// `Y90`, by its first stage.
pub(crate) const fn documents_leak(first_stage: &'static str) -> Mistake {
    Mistake {
        id: "Y90",
        name: "documents_leak",
        first_stage,
        wrong: "convolves documents as if the row were one sequence: those before leak into it, and padding on the left does",
        right: "every document begins from zeros",
        evidence: "THUDM/slime#1686, huggingface/transformers#46588 (packed rows without cu_seqlens)",
        looks: "the first document right, every later one wrong at its beginning",
        fix: "Pass cu_seqlens down to the filter, or convolve each document alone.",
        rounding: None,
    }
}

/// `Y91`, by its first stage.
pub(crate) const fn short_filter_leaks(first_stage: &'static str) -> Mistake {
    Mistake {
        id: "Y91",
        name: "short_filter_leaks",
        first_stage,
        wrong: "the short filter's window is not emptied where a document begins, nor after padding on the left",
        right: "every document begins from zeros",
        evidence: "fla-org/flash-linear-attention#1184, state-spaces/mamba#1027 (convolutions that see the document before)",
        looks: "the first document right, the first taps - 1 tokens of every later one wrong",
        fix: "Empty the window at every boundary of cu_seqlens.",
        rounding: None,
    }
}

/// `Y92a`, by its first stage.
pub(crate) const fn documents_end_late(first_stage: &'static str) -> Mistake {
    Mistake {
        id: "Y92a",
        name: "documents_end_late",
        first_stage,
        wrong: "documents end one token late: the next one's first token belongs to them",
        right: "document n holds tokens cu_seqlens[n] to cu_seqlens[n + 1] - 1, row i lengths[i] of them",
        evidence: "plausible (cu_seqlens of targets, which are shifted by one)",
        looks: "wrong at the first tokens of documents",
        fix: "cu_seqlens counts the tokens before a document: it begins there.",
        rounding: None,
    }
}

/// `Y92b`, by its first stage.
pub(crate) const fn documents_end_early(first_stage: &'static str) -> Mistake {
    Mistake {
        id: "Y92b",
        name: "documents_end_early",
        first_stage,
        wrong: "documents end one token early",
        right: "document n holds tokens cu_seqlens[n] to cu_seqlens[n + 1] - 1, row i lengths[i] of them",
        evidence: "plausible (an end taken as inclusive)",
        looks: "wrong at the last tokens of documents",
        fix: "The end of a document is not part of it, and the token before it is.",
        rounding: None,
    }
}

/// `Y46`, by its first stage.
pub(crate) const fn cotangents_leak_in_filters(first_stage: &'static str) -> Mistake {
    Mistake {
        id: "Y46",
        name: "cotangents_leak_in_filters",
        first_stage,
        wrong: "correlations over the whole row: the cotangents of a document reach those before it",
        right: "cotangents end where a document begins",
        evidence: "fla-org/flash-linear-attention#1184 (a backward pass without cu_seqlens)",
        looks: "outputs right; gradients of the last document right, of earlier ones wrong at their ends",
        fix: "Pass cu_seqlens down to the backward pass too.",
        rounding: None,
    }
}

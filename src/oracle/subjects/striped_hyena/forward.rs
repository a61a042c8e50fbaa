//! The known mistakes of StripedHyena's operators.

use super::super::graph::GraphHook::{self, AfterPrompt, Case, Convolution, Documents, Stage};
use super::super::graph::{
    circular, documents_end_early, documents_end_late, fill, from_the_beginning, late,
    one_token_early, one_token_late, reverse_rows, short_filter_leaks, to_the_end, wrapped,
};
use super::case::{
    ChannelLayout, Gates, LOG_POLES, POLES, RESIDUES, SHORT_BIAS, SKIP, StripedHyenaCase, WEIGHT,
};
use super::decoding as wrong;
use crate::algebra::FloatFormat;
use crate::oracle::mistake::rows;

/// Poles and residues stored in a format.
fn store_modes(case: &mut StripedHyenaCase, format: FloatFormat) {
    for name in [POLES, LOG_POLES, RESIDUES] {
        if let Some(x) = case.inputs.get_mut(name) {
            x.data_mut().iter_mut().for_each(|x| *x = format.round(*x));
        }
    }
}

/// The nearest number of four significant bits, as FP8 (E4M3) has them.
fn four_bits(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let unit = 2f64.powi(x.abs().log2().floor() as i32 - 3);
    (x / unit).round_ties_even() * unit
}

rows! { GraphHook<StripedHyenaCase>:
    "Y01" "x1_and_x2_exchanged" at "x2"
        wrong "x1 F(x2 v)"
        right "x2 F(x1 v), and the other way round where hyena_flip_x1x2 is True"
        seen "sglang#27447; utils.interleave of vortex names the thirds x1, x2, v and the engine reads them as x2, x1, v"
        looks "x1 and x2 exchanged, every later stage uncorrelated"
        fix "The first third is the gate after the filter; apply hyena_flip_x1x2."
        by [Case(|case| case.flip = !case.flip)];
    "Y02a" "layout_split" at "x2"
        wrong "thirds of all channels"
        right "the layout of the file"
        seen "three layouts for one operator: split, column_split (sh1), interleave (vortex)"
        looks "x2, x1 and v of channels mixed"
        fix "Read the projections in the layout of the code that the checkpoint is for."
        by [Case(|case| case.layout = ChannelLayout::Split)];
    "Y02b" "layout_column_split" at "x2"
        wrong "thirds of every head's channels"
        right "the layout of the file"
        seen "three layouts for one operator: split, column_split (sh1), interleave (vortex)"
        looks "x2, x1 and v of channels mixed"
        fix "Read the projections in the layout of the code that the checkpoint is for."
        by [Case(|case| {
            // The heads are not used in other layouts, and need not be stated there.
            let [_, _, d] = case.sizes();
            if !d.is_multiple_of(case.heads) {
                case.heads = 1;
            }
            case.layout = ChannelLayout::ColumnSplit;
        })];
    "Y02c" "layout_interleave" at "x2"
        wrong "channels 3 i, 3 i + 1, 3 i + 2"
        right "the layout of the file"
        seen "three layouts for one operator: split, column_split (sh1), interleave (vortex)"
        looks "x2, x1 and v of channels mixed"
        fix "Read the projections in the layout of the code that the checkpoint is for."
        by [Case(|case| case.layout = ChannelLayout::Interleave)];
    "Y03" "inner_taps_reversed" at "filtered"
        wrong "h[K-1] on the present input in hcm, h[0] in hcs"
        right "h[0] on the present input in hcm, h[K-1] in hcs"
        seen "vortex passes flip_filter for 128 taps and more: hcm convolves, hcs correlates"
        looks "uncorrelated from `filtered` on"
        fix "Flip one of the two kinds of filter."
        by [Case(|case| case.wiring.inner_order = false)];
    "Y03b" "short_taps_reversed" at "short"
        wrong "w[0] on the present input"
        right "w[2] on the present input"
        seen "conv1d correlates: its last tap meets the present input"
        looks "uncorrelated from `short` on"
        fix "Let the last tap of short_filter_weight meet the present input."
        by [Case(|case| case.wiring.short_correlates = false)];
    "Y04" "oldest_taps_after_a_prompt_of_one_token" at "short"
        wrong "weight[..., :c+1] with c inputs in the cache: the oldest taps"
        right "the newest c + 1 taps"
        seen "vortex step_fir; the path with flip_filter is right"
        looks "prompt right; hcl wrong for ever, hcm and hcs until the inner filter has forgotten"
        fix "Take weight[..., -(c+1):], or fill the cache with zeros."
        by [Stage("short", wrong::short_after_one), Stage("filtered", wrong::inner_after_one)];
    "Y04b" "oldest_taps_after_a_short_prompt" at "filtered"
        wrong "h[..., :c+1] with c < K - 1 inputs in the cache of the inner filter"
        right "the newest c + 1 taps"
        seen "vortex step_fir in hcs after prompts of 2 to K - 2 tokens"
        looks "wrong from the first step to token K - 2, right before and after"
        fix "Take weight[..., -(c+1):], or fill the cache with zeros."
        by [AfterPrompt("filtered", wrong::inner_after_prompt)];
    "Y04c" "cache_of_one_column" at "short"
        wrong "w[2] z_t + (w[0] + w[1]) z_{t-1}"
        right "w[2] z_t + w[1] z_{t-1} + w[0] z_{t-2}"
        seen "stripedhyena step_fir after a prompt of one token: the cache broadcasts and never grows"
        looks "the prompt's token is right, every later one wrong"
        fix "Fill the cache with zeros to K - 1 columns."
        by [Stage("short", wrong::one_column)];
    "Y06" "imaginary_part_from_the_new_real_part" at "filtered"
        wrong "im = p_re im + p_im re with re already updated"
        right "both parts from the old state"
        seen "prefill_via_direct_recurrence of stripedhyena and vortex; the default prefill, \"fft\", hides it"
        looks "off by 2 to 1000 times; right for real poles"
        fix "Update both parts from a copy of the state, or in complex numbers."
        by [Stage("filtered", wrong::wrong_prefill), Stage("state.iir", wrong::wrong_state)];
    "Y07" "product_of_real_parts" at "filtered"
        wrong "sum_n Re R_n Re s_n"
        right "sum_n Re(R_n s_n)"
        seen "prefill_via_direct_recurrence of stripedhyena and vortex"
        looks "right for real residues and states"
        fix "Subtract the product of the imaginary parts."
        by [Stage("filtered", wrong::wrong_read)];
    "Y07b" "prefill_by_recurrence" at "filtered"
        wrong "the state of Y06, read as in Y07"
        right "s_t = p s_{t-1} + x_t, y = Re(R s)"
        seen "prefill_via_direct_recurrence as it stands"
        looks "off by 2 to 1000 times"
        fix "Use the prefill by FFT, or correct both."
        by [Stage("filtered", wrong::wrong_prefill_and_read), Stage("state.iir", wrong::wrong_state)];
    "Y08" "real_part_twice" at "filter"
        wrong "2 Re sum_n R_n p_n^t"
        right "Re sum_n R_n p_n^t"
        seen "the habit of S4D and H3, whose modes stand for conjugate pairs"
        looks "the filter's part doubled, the feedthrough not"
        fix "Take the real part once."
        by [Case(|case| case.wiring.times = 2)];
    "Y09" "filter_groups_tiled" at "filter"
        wrong "channel c meets filter c mod G"
        right "channel c meets filter c / (D / G), rounded down"
        seen "repeat in place of repeat_interleave"
        looks "right for one filter, or as many as channels"
        fix "Repeat every filter for neighbouring channels."
        by [Case(|case| case.wiring.groups_repeat = false)];
    "Y10" "no_feedthrough" at "filtered"
        wrong "h * p"
        right "h * p + D p"
        seen "savanna's flashfft and cgcg paths use no conv_bias; its fftconv, long_conv1d and slow-heads paths do"
        looks "off by a multiple of the filter's present input"
        fix "Add D times x1 v."
        by [Case(|case| fill(case.inputs.get_mut(SKIP), 0.0))];
    "Y24" "feedthrough_of_the_ungated_input" at "filtered"
        wrong "h * (x1 v) + D v"
        right "h * (x1 v) + D x1 v"
        seen "a feedthrough outside a kernel that gates"
        looks "off by D v (1 - x1)"
        fix "Multiply D with the input after its gate."
        by [Case(|case| case.wiring.gated_skip = false)];
    "Y11" "state_of_the_other_gate" at "state.iir"
        wrong "the cache seeded with x2 v"
        right "the cache seeded with x1 v"
        seen "bionemo-recipes#1565, where pregate is off"
        looks "the prompt's outputs are right, every step after it wrong"
        fix "Seed the cache with what the filter reads, x1 v."
        by [Stage("state.iir", wrong::state_of_x2), Stage("state.fir_inner", wrong::window_of_x2)];
    "Y12" "window_kept_between_sequences" at "short"
        wrong "the short filter goes on from the sequence before"
        right "every sequence begins from zeros"
        seen "bionemo-recipes#890 (NeMo#14027), #949: filters that keep a state between requests"
        looks "the first sequence is right, of others the first tokens are wrong"
        fix "Empty the cache at the beginning of a sequence."
        by [Stage("short", wrong::window_kept)];
    "Y12b" "modes_kept_between_sequences" at "filtered"
        wrong "the modes go on from the state of the sequence before"
        right "every sequence begins from zeros"
        seen "bionemo-recipes#890 (NeMo#14027), #949: filters that keep a state between requests"
        looks "the first sequence is right"
        fix "Empty the cache at the beginning of a sequence."
        by [Stage("filtered", wrong::modes_kept)];
    "Y14" "projections_in_fp8" at "projected"
        wrong "input and weights of the projections rounded to four bits"
        right "the projections in the format of the rest"
        seen "Evo 2 1B and 40B are trained with FP8 input projections and need them; 7B must not have them"
        looks "off by some percent from the first stage on"
        fix "Use FP8 for the checkpoints that were trained with it, and only for those."
        by [Case(|case| {
            for name in ["input", WEIGHT] {
                if let Some(x) = case.inputs.get_mut(name) {
                    x.data_mut().iter_mut().for_each(|x| *x = four_bits(*x));
                }
            }
        })];
    "Y15" "modes_in_bfloat16" at "filter"
        wrong "poles and residues rounded to bfloat16"
        right "poles and residues in float32"
        seen "to_bfloat16_except_pr_lc exists for it"
        looks "errors that grow along the filter"
        fix "Keep poles, log_poles and residues in float32."
        rounding BF16
        by [Case(|case| store_modes(case, FloatFormat::BF16))];
    "Y16" "modes_in_float16" at "filter"
        wrong "poles and residues rounded to float16"
        right "poles and residues in float32"
        seen "vortex precompute_filters, which calls a function that does not exist, makes float16 poles"
        looks "errors that grow along the filter"
        fix "Keep poles, log_poles and residues in float32."
        rounding F16
        by [Case(|case| store_modes(case, FloatFormat::F16))];
    "Y17" "log_poles_clamped" at "filter"
        wrong "exp(min(log_pole, 0) t)"
        right "exp(log_pole t)"
        seen "stability taken for granted; checkpoints may hold growing modes"
        looks "acts where a log_pole is positive"
        fix "Use log_poles as they are."
        by [Case(|case| {
            if let Some(x) = case.inputs.get_mut(LOG_POLES) {
                x.data_mut().iter_mut().for_each(|x| *x = x.min(0.0));
            }
        })];
    "Y18" "no_gate_before" at "filtered"
        wrong "x2 F(v)"
        right "x2 F(x1 v)"
        seen "a gate left to the caller, who leaves it to the callee"
        looks "uncorrelated from `filtered` on"
        fix "Multiply v with x1 before the filter."
        by [Case(|case| case.wiring.gates = Gates::WithoutX1)];
    "Y19" "no_gate_after" at "gated"
        wrong "F(x1 v)"
        right "x2 F(x1 v)"
        seen "a gate left to the caller, who leaves it to the callee"
        looks "a factor 1 / x2, per token"
        fix "Multiply the filter's output with x2."
        by [Case(|case| case.wiring.gates = Gates::WithoutX2)];
    "Y20" "circular_of_sequence_length" at "filtered"
        wrong "FFTs of length L"
        right "FFTs of length 2 L"
        seen "the usual slip of FFT convolutions; L = 2^k gives no error message"
        looks "the first tokens see the last ones"
        fix "Pad the filter and the input with zeros to 2 L before the transform."
        by [Convolution("filtered", circular)];
    "Y21" "kernel_not_cut" at "filtered"
        wrong "a filter of K > L taps in FFTs of length 2 L"
        right "the filter cut to its first L taps"
        seen "H3's and flash-fft-conv's references do not cut"
        looks "taps L + 1, ... act on future inputs"
        fix "Cut the filter to the sequence's length before its transform."
        by [Convolution("filtered", wrapped)];
    "Y23" "kernel_one_step_late" at "filtered"
        wrong "sum_j h_j p_{t-1-j}"
        right "sum_j h_j p_{t-j}"
        seen "a padding of K in place of K - 1"
        looks "the filter's part one step late"
        fix "Let the filter's first tap meet the present input."
        by [Convolution("filtered", late)];
    "Y71" "no_short_bias" at "short"
        wrong "w * z"
        right "w * z + b in sh1"
        seen "StripedHyena 2's short filters have no bias"
        looks "off by a constant per channel"
        fix "Add short_filter_bias where the checkpoint holds one."
        by [Case(|case| fill(case.inputs.get_mut(SHORT_BIAS), 0.0))];
    "Y80" "state_with_residues" at "state.iir"
        wrong "R_n s_n"
        right "s_n = sum_i p_n^(L-1-i) x_i"
        seen "states of codes that fold residues into the input"
        looks "outputs right, the state a factor off, mode by mode"
        fix "Apply residues when the state is read."
        by [Stage("state.iir", wrong::state_times_residue)];
    "Y81" "state_one_token_early" at "state.iir"
        wrong "the state before the last token"
        right "the state after it"
        seen "states taken from the loop's beginning"
        looks "one token repeated or lost in decoding"
        fix "Save the state after the last input."
        by [Stage("state.iir", wrong::state_one_token_early)];
    "Y82" "window_behind_the_short_filter" at "state.fir"
        wrong "the last outputs of the short filter"
        right "the last raw projections"
        seen "a cache filled after the convolution"
        looks "prompt right, the next two tokens wrong"
        fix "Keep the projections, not the outputs of the short filter."
        by [Stage("state.fir", wrong::window_of_short)];
    "Y83" "windows_newest_first" at "state.fir"
        wrong "the newest input first"
        right "the oldest input first"
        seen "a shift state space model's window is in that order"
        looks "prompt right, later tokens wrong"
        fix "Store windows oldest first."
        by [
            Stage("state.fir", |stage, _| reverse_rows(stage)),
            Stage("state.fir_inner", |stage, _| reverse_rows(stage)),
        ];
    "Y90" "documents_leak" at "filtered"
        wrong "filters documents as if the row were one sequence: those before leak into it, and padding on the left does"
        right "every document begins from zeros"
        seen "THUDM/slime#1686, huggingface/transformers#46588 (packed rows without cu_seqlens)"
        looks "the first document right, every later one wrong at its beginning"
        fix "Pass cu_seqlens down to the filter, or convolve each document alone."
        by [Documents("filtered", from_the_beginning), Documents("state.iir", from_the_beginning)];
    in the words of short_filter_leaks at "short"
        by [Documents("short", from_the_beginning)];
    in the words of documents_end_late at "short"
        by [Documents("short", one_token_late), Documents("filtered", one_token_late), Documents("state.iir", one_token_late)];
    in the words of documents_end_early at "short"
        by [Documents("short", one_token_early), Documents("filtered", one_token_early), Documents("state.iir", one_token_early)];
    "Y93a" "states_after_padding" at "state.fir"
        wrong "states after the row's last position, with projections and x1 v zero at padding"
        right "states after each row's last token"
        seen "huggingface/transformers#48256 (a cache taken at the padded end)"
        looks "all outputs right; rows with padding have faded modes, and zeros as their windows' newest entries"
        fix "Take the states at each row's own length."
        by [
            Stage("state.fir", wrong::window_after_padding),
            Stage("state.iir", wrong::state_after_padding),
            Stage("state.fir_inner", wrong::inner_window_after_padding),
        ];
    "Y93b" "states_of_padding" at "state.fir"
        wrong "states after the row's last position, its padding taken for tokens"
        right "states after each row's last token"
        seen "huggingface/transformers#48256, vllm-project/vllm#34587 (padding that is stepped through)"
        looks "all outputs right; rows with padding have states of something else"
        fix "Take the states at each row's own length."
        by [
            Stage("state.fir", wrong::window_of_padding),
            Documents("state.iir", to_the_end),
            Stage("state.fir_inner", wrong::inner_window_of_padding),
        ];
    "Y94" "states_of_the_last_document" at "state.fir"
        wrong "every document of a row has the state after the row's last token"
        right "every document has the state after its own last token"
        seen "plausible (a kernel that stores its state once a row)"
        looks "all outputs right, the states of all documents but the last wrong"
        fix "Store a state at every end in cu_seqlens."
        by [
            Stage("state.fir", wrong::of_the_last),
            Stage("state.iir", wrong::of_the_last),
            Stage("state.fir_inner", wrong::of_the_last),
        ];
}

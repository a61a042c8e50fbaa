//! M08 to M20: the shift model and what it is applied to.

super::rows! {
    ShiftUnitDelay "M08" "shift_unit_delay" at "shift_kernel"
        wrong "k'_t = k_{t-1} + D k_t"
        right "k'_t = sum_m K_m k_{t-m} + D k_t"
        seen "seen in an independent port"
        looks "kernel 0, 1, 0, ...: B and C have no effect"
        fix "the shift model is a learned FIR filter of d_state taps, not one delay";
    ShiftDelayed "M09a" "shift_delayed" at "shift_kernel"
        wrong "K_0 = 0, K_t = C A^{t-1} B: the output reads the state before the update"
        right "K_t = C A^t B"
        seen "plausible"
        looks "shift_kernel one place late"
        fix "read the state after the update: tap 0 weighs the current key";
    ShiftAdvanced "M09b" "shift_advanced" at "shift_kernel"
        wrong "K_t = C A^{t+1} B"
        right "K_t = C A^t B"
        seen "plausible"
        looks "shift_kernel one place early, its first tap lost"
        fix "tap 0 is C B: do not advance the state before reading it";
    ShiftTapsReversed "M10" "shift_taps_reversed" at "shift_kernel"
        wrong "K_t -> K_{N-1-t}, N taps"
        right "K_t"
        seen "seen in an independent port (taps given to conv1d)"
        looks "the N taps backwards"
        fix "flip the taps for conv1d; ones go below the diagonal of A";
    ShiftConvNotCorr "M11" "shift_conv_not_corr" at "shift_kernel"
        wrong "K = irfft(B_f C_f), K_t = sum_n B_n C_{t-n}"
        right "K = irfft(conj(B_f) C_f), K_t = sum_n B_n C_{n+t}"
        seen "plausible"
        looks "right while B = e_1, as at initialization; wrong once B is trained"
        fix "conj on B_f: it is a correlation over the state index";
    ShiftConjOnC "M12" "shift_conj_on_c" at "shift_kernel"
        wrong "K = irfft(B_f conj(C_f)), K_t = sum_n C_n B_{n+t}"
        right "K = irfft(conj(B_f) C_f)"
        seen "plausible"
        looks "while B = e_1 only tap 0 survives"
        fix "the conj belongs on B_f, not on C_f; or B and C were exchanged";
    ShiftFftN "M13" "shift_fft_n" at "shift_kernel"
        wrong "the correlation of B and C modulo N: an FFT of N points over the state axis"
        right "2 N points"
        seen "plausible"
        looks "right while B = e_1; with a trained B taps wrap around"
        fix "zero-pad B and C to 2 N before their FFT";
    ShiftLenAlias "M14a" "shift_len_alias" at "shift_k"
        wrong "N > L taps kept with a transform of 2 L points"
        right "the kernel cut to min(N, L) taps"
        seen "plausible"
        looks "sequences shorter than the window: not causal, worst at the first position"
        fix "cut the kernel to min(N, L), or transform L + N points";
    ShiftLenUncut "M14b" "shift_len_uncut" at "shift_kernel"
        wrong "irfft(conj(B_f) C_f)[:L], 2 N points, their upper half at negative lags"
        right "[: min(N, L)], zeros beyond"
        seen "plausible"
        looks "taps beyond N that should be zero; right while B = e_1"
        fix "cut the kernel to its first N taps, then pad with zeros";
    ShiftCyclicTime "M15" "shift_cyclic_time" at "shift_k"
        wrong "k'_t = sum_m K_m k_{(t-m) mod L}: roll with wraparound"
        right "zeros before the first key"
        seen "plausible"
        looks "wrong at the first N - 1 positions only"
        fix "fill with zeros instead of rolling, or pad the FFT";
    ShiftFeatureAxis "M16" "shift_feature_axis" at "shift_k"
        wrong "k'_{c,t} = sum_m K_{c,m} k_{(c-m) mod d, t}: rolls channels"
        right "rolls time"
        seen "seen in an independent port"
        looks "no memory: position t depends on position t alone"
        fix "shift along the sequence axis";
    ShiftIsDecay "M17" "shift_is_decay" at "shift_kernel"
        wrong "A = diag(exp(-(n+1)/N)), K_t = sum_n C_n B_n exp(-(n+1) t/N)"
        right "A the shift matrix"
        seen "seen in independent ports (a second diagonal model in its place)"
        looks "a decaying kernel instead of the taps C"
        fix "the first SSM has the shift matrix: its state is a window, not an average";
    NoShiftD "M18" "no_shift_d" at "shift_k"
        wrong "k' = K_sh * k"
        right "k' = K_sh * k + ssm_k_D k"
        seen "seen in an independent port"
        looks "shift_k differs by ssm_k_D k, channel by channel"
        fix "add the skip ssm_k_D k to the shift model's output";
    ShiftOnV "M19" "shift_on_v" at "shift_k"
        wrong "kv = k (K_sh * v + D v)"
        right "kv = (K_sh * k + D k) v"
        seen "the Hyena paper writes H3 so (its footnote on k and v)"
        looks "k and v exchanged in their use, not in their weights"
        fix "H3 shifts the keys, not the values";
    ShiftOnQ "M20" "shift_on_q" at "shift_k"
        wrong "q' = K_sh * q + D q, kv = k v"
        right "the keys are shifted, the queries not"
        seen "seen in independent ports"
        looks "kv is the plain product; gated uses shifted queries"
        fix "apply the shift model to k, and leave q alone";
}

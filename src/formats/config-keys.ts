// Which keys of a config.json may be ignored. config.json has no schema: writers add keys freely, and a key that is ignored
// although it changes the decoder's mathematics gives a model that trains well and is wrong. So keys the decoder does not read
// fall into four classes:
//   1. known to say nothing about the mathematics (token ids, generation settings, bookkeeping): ignored;
//   2. known to change it: refused by name unless they hold the value that switches them off;
//   3. unknown, but with a name out of the vocabulary of decoder mathematics (`…_multiplier`, `…softcap…`, `num_…_experts`): refused
//      like 2, unless null, false or empty: a false alarm costs the user one line in a copy of config.json, a miss costs a run;
//   4. unknown otherwise: a warning. Refusing these as well would turn away every checkpoint whose writer has added bookkeeping
//      since (transformers, unsloth and others do so with most releases).
// The check of the tensors' names and shapes (hugging-face-model.ts) is the second net under 4.

const words = (...lines: readonly string[]): readonly string[] => lines.flatMap((line) => line.split(' '));

const HARMLESS: ReadonlySet<string> = new Set([
  // where it comes from
  ...words(
    'architectures model_type transformers_version _name_or_path name_or_path _commit_hash model_name base_model',
    'torch_dtype dtype use_bfloat16 torchscript license language is_llama_config transformers.js_config',
    'unsloth_version unsloth_fixed tokenizer_class tokenizer_name model_max_length max_sequence_length',
  ),
  // tokens
  ...words(
    'bos_token_id eos_token_id pad_token_id unk_token_id sep_token_id decoder_start_token_id',
    'bos_token eos_token pad_token unk_token forced_bos_token_id forced_eos_token_id prefix',
  ),
  // how it runs, not what it computes
  ...words(
    'use_cache return_dict use_return_dict return_dict_in_generate output_attentions output_hidden_states output_scores',
    '_attn_implementation attn_implementation _attn_implementation_autoset _attn_implementation_internal',
    '_flash_attn_2_enabled use_flash_attn use_flash_attention _experts_implementation_internal num_logits_to_keep',
    'cache_implementation gradient_checkpointing chunk_size_feed_forward keys_to_ignore_at_inference',
    'base_model_tp_plan base_model_pp_plan fsdp deepspeed is_decoder tf_legacy_loss',
  ),
  // how it was made
  ...words(
    'initializer_range initializer_factor init_method router_aux_loss_coef output_router_logits neftune_noise_alpha',
  ),
  // heads of other tasks
  ...words(
    'id2label label2id num_labels problem_type finetuning_task task_specific_params summary_type',
    'tie_encoder_decoder cross_attention_hidden_size classifier_dropout',
  ),
  // generation settings that old versions kept here
  ...words(
    'max_length min_length max_new_tokens do_sample early_stopping num_beams num_beam_groups diversity_penalty',
    'temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size',
    'encoder_no_repeat_ngram_size bad_words_ids num_return_sequences exponential_decay_length_penalty',
    'suppress_tokens begin_suppress_tokens remove_invalid_values',
  ),
]);

/** Keys that change the mathematics, and the values (beside null) with which they do not. */
const OFF_VALUES: Readonly<Record<string, readonly unknown[]>> = {
  clip_qkv: [],
  qkv_clip: [],
  attn_logit_softcapping: [],
  final_logit_softcapping: [],
  attention_multiplier: [],
  query_pre_attn_scalar: [],
  embedding_multiplier: [1],
  residual_multiplier: [1],
  logits_scaling: [1],
  logit_scale: [1],
  scale_emb: [1],
  scale_depth: [],
  mup_base_width: [],
  partial_rotary_factor: [1],
  rotary_pct: [1],
  rotary_emb_base: [],
  rope_interleaved: [false],
  no_rope_layers: [],
  no_rope_layer_interval: [],
  alibi: [false],
  use_alibi: [false],
  position_embedding_type: ['rope', 'rotary', 'absolute'],
  parallel_attn: [false],
  use_parallel_residual: [false],
  use_qk_norm: [false],
  qk_layernorm: [false],
  use_sub_norm: [false],
  attention_sinks: [false],
  num_experts: [0, 1],
  num_local_experts: [0, 1],
  num_experts_per_tok: [0, 1],
  n_routed_experts: [0],
  is_encoder_decoder: [false],
  add_cross_attention: [false],
  attention_chunk_size: [],
  kv_lora_rank: [],
  q_lora_rank: [],
  hidden_activation: ['silu'],
  num_nextn_predict_layers: [0],
};

const DROPOUT = /(^|_)(dropout|pdrop)(_|$)/;

/** Words out of which decoder mathematics gets its names. */
const MATHEMATICS =
  /scal(e|ing|ar)|multiplier|soft_?cap|clip|expert|moe|rout(er|ing)|norm|rope|rotary|alibi|position|attn|attention|logit|bias|window|residual|activation|(^|_)act(_|$)|embed|lora|adapter|mup|sparse|mamba|ssm|conv|recurr|shared?_|skip|parallel|heads?(_|$)|_layers|layer_/i;

export type KeyVerdict = { readonly kind: 'ignored' } | { readonly kind: 'warning' | 'problem'; readonly what: string };

/** What to do about a key that the decoder does not read. */
export function judgeUnreadKey(key: string, value: unknown): KeyVerdict {
  if (value === null || value === undefined || HARMLESS.has(key)) return { kind: 'ignored' };
  const off = Object.hasOwn(OFF_VALUES, key) ? OFF_VALUES[key] : undefined;
  if (off !== undefined) {
    if (isEmpty(value) || off.includes(value)) return { kind: 'ignored' };
    return { kind: 'problem', what: 'changes the mathematics of the model and is not supported' };
  }
  // Dropout is a choice of the training that made the model; evaluation has none, and neither has LR-QAT.
  if (DROPOUT.test(key)) {
    return value === 0 ? { kind: 'ignored' } : { kind: 'warning', what: 'dropout is not applied' };
  }
  if (value === false || isEmpty(value)) return { kind: 'ignored' };
  if (MATHEMATICS.test(key)) {
    return { kind: 'problem', what: 'is not a key that is known here, and by its name may change the mathematics' };
  }
  return { kind: 'warning', what: 'unknown key, ignored' };
}

function isEmpty(value: unknown): boolean {
  if (value === '') return true;
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

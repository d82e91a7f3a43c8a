// What the float model gives for rows of logits, and the loss that follows it beside the text
// (Backend::distillationLoss).
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// logits [rows, vocab] float32, overwritten; out [rows, k] and [rows, k + 1] device memory, k at most vocab and
/// maxTeacherClasses.
void teacherRows(Matrix logits, float temperature, const TeacherRows& out, cudaStream_t stream);

/// logits [rows, vocab] float32, overwritten; targets [rows], -1: ignored (no loss, zero gradient); `gradient` float32,
/// perhaps the memory of the logits, or bf16 in memory of its own. lossSums (device, [2]) += Σ cross-entropy and
/// Σ divergence, double sums in fixed order.
void distillationLoss(Matrix logits, const int32_t* targets, const TeacherRows& teacher,
                      const Distillation& distillation, float gradientScale, Matrix gradient, double* lossSums,
                      Scratch& scratch, cudaStream_t stream);
int64_t distillationScratchBytes(int64_t rows);

}  // namespace lrqat::cuda

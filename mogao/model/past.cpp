// Attention of one query a head to the keys of the past, in one pass over them.
//
// Built for one shape: GROUP query heads share a key head of HEAD_DIM entries, a multiple of 32. All
// input is bfloat16, given by its bits. Rows are read in parts of fixed length whose results are
// joined in order, so that neither threads nor batch mates change a bit.
// Source: arXiv 2205.14135, section 3.1 (the running maximum).

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int WIDTH = 16;
typedef float Floats __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t Bits __attribute__((vector_size(4 * WIDTH)));
typedef int32_t Ints __attribute__((vector_size(4 * WIDTH)));

constexpr int PIECES = HEAD_DIM / (2 * WIDTH);  // vectors of the even entries of a row
constexpr int BLOCK = 128;  // rows whose scores are kept at once
constexpr long PART = 1024;  // rows of one task

inline float to_float(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

// Entries 2e and 2e + 1 of a row lie in one word, so that its two halves need no shuffling.
inline void load(const uint16_t* row, int piece, Floats& even, Floats& odd) {
  Bits words;
  std::memcpy(&words, row + 2 * WIDTH * piece, sizeof words);
  const Bits low = words << 16, high = words & 0xffff0000u;
  std::memcpy(&even, &low, sizeof even);
  std::memcpy(&odd, &high, sizeof odd);
}

// Keys and values lie apart: while one is read, memory brings the other.
inline void prefetch(const uint16_t* row) {
  for (int entry = 0; entry < HEAD_DIM; entry += 32) __builtin_prefetch(row + entry);
}

template <int N>
inline float sum_of(const float* values) {
  if constexpr (N == 1) {
    return values[0];
  } else {
    typedef float Part __attribute__((vector_size(2 * N)));
    Part low, high;
    std::memcpy(&low, values, sizeof low);
    std::memcpy(&high, values + N / 2, sizeof high);
    const Part sum = low + high;
    return sum_of<N / 2>(reinterpret_cast<const float*>(&sum));
  }
}
inline float sum_of(const Floats& values) {
  return sum_of<WIDTH>(reinterpret_cast<const float*>(&values));
}

// e^x for x <= 0: a power of two times a polynomial of the rest; relative error below 1e-6.
inline Floats exponential(Floats x) {
  const Floats least = Floats{} - 87.0f;
  const Floats scaled = (x > least ? x : least) * 1.44269504f;
  const Ints whole = __builtin_convertvector(scaled - 0.5f, Ints);
  const Floats rest = (scaled - __builtin_convertvector(whole, Floats)) * 0.69314718f;
  Floats series = rest * (1.0f / 720) + 1.0f / 120;
  series = series * rest + 1.0f / 24;
  series = series * rest + 1.0f / 6;
  series = series * rest + 0.5f;
  series = series * rest + 1.0f;
  series = series * rest + 1.0f;
  const Ints power = (whole + 127) << 23;
  Floats scale;
  std::memcpy(&scale, &power, sizeof scale);
  return series * scale;
}
inline float exponential(float x) { return exponential(Floats{} + x)[0]; }

struct Partial {
  float top[GROUP], sum[GROUP];
  Floats value[GROUP][2][PIECES];
};

void attend(const Floats (&query)[GROUP][2][PIECES], const uint16_t* keys, const uint16_t* values,
            const uint16_t* bias, long rows, long key_stride, long value_stride, Partial& result) {
  Floats scores[GROUP][BLOCK / WIDTH];
  Floats value[GROUP][2][PIECES] = {};
  float top[GROUP], sum[GROUP];
  for (int g = 0; g < GROUP; g++) top[g] = -INFINITY, sum[g] = 0.0f;
  for (long start = 0; start < rows; start += BLOCK) {
    const int count = static_cast<int>(rows - start < BLOCK ? rows - start : BLOCK);
    for (int j = 0; j < count; j++) {
      const uint16_t* row = keys + (start + j) * key_stride;
      prefetch(values + (start + j) * value_stride);
      Floats products[GROUP] = {};
      for (int piece = 0; piece < PIECES; piece++) {
        Floats even, odd;
        load(row, piece, even, odd);
        for (int g = 0; g < GROUP; g++)
          products[g] += query[g][0][piece] * even + query[g][1][piece] * odd;
      }
      const float extra = bias ? to_float(bias[start + j]) : 0.0f;
      for (int g = 0; g < GROUP; g++)
        reinterpret_cast<float*>(scores[g])[j] = sum_of(products[g]) + extra;
    }
    for (int g = 0; g < GROUP; g++) {
      float* score = reinterpret_cast<float*>(scores[g]);
      for (int j = count; j < BLOCK; j++) score[j] = -INFINITY;
      Floats highest = scores[g][0];
      for (const Floats& some : scores[g]) highest = some > highest ? some : highest;
      float peak = top[g];
      for (int e = 0; e < WIDTH; e++) peak = highest[e] > peak ? highest[e] : peak;
      if (peak == -INFINITY) {  // all is hidden so far
        std::memset(scores[g], 0, sizeof scores[g]);
        continue;
      }
      const float old = exponential(top[g] - peak);
      Floats sums = {};
      for (Floats& some : scores[g]) sums += some = exponential(some - peak);
      top[g] = peak;
      sum[g] = sum[g] * old + sum_of(sums);
      for (int piece = 0; piece < PIECES; piece++)
        value[g][0][piece] *= old, value[g][1][piece] *= old;
    }
    for (int j = 0; j < count; j++) {
      const uint16_t* row = values + (start + j) * value_stride;
      if (start + j + BLOCK < rows) prefetch(keys + (start + j + BLOCK) * key_stride);
      for (int piece = 0; piece < PIECES; piece++) {
        Floats even, odd;
        load(row, piece, even, odd);
        for (int g = 0; g < GROUP; g++) {
          const float weight = reinterpret_cast<const float*>(scores[g])[j];
          value[g][0][piece] += even * weight;
          value[g][1][piece] += odd * weight;
        }
      }
    }
  }
  std::memcpy(result.top, top, sizeof top);
  std::memcpy(result.sum, sum, sizeof sum);
  std::memcpy(result.value, value, sizeof value);
}

// Joins the parts of one head in their order.
void join(const Partial* own, long parts, int g, float* found, float* log_sum) {
  float top = -INFINITY, sum = 0.0f;
  for (long part = 0; part < parts; part++) top = own[part].top[g] > top ? own[part].top[g] : top;
  Floats value[2][PIECES] = {};
  for (long part = 0; part < parts; part++) {
    if (own[part].top[g] == -INFINITY) continue;
    const float share = exponential(own[part].top[g] - top);
    sum += own[part].sum[g] * share;
    for (int half = 0; half < 2; half++)
      for (int piece = 0; piece < PIECES; piece++)
        value[half][piece] += own[part].value[g][half][piece] * share;
  }
  for (int e = 0; e < HEAD_DIM; e++)
    found[e] = sum > 0.0f ? value[e % 2][e / 2 / WIDTH][e / 2 % WIDTH] / sum : 0.0f;
  *log_sum = top + std::log(sum);
}

}  // namespace

// Strides are in entries: of an item, a head, a row. `bias` may be null.
extern "C" void find_in_past(const uint16_t* queries, float scale, const uint16_t* keys,
                             const uint16_t* values, const uint16_t* bias, float* found,
                             float* sums, long items, long heads, long rows,
                             const long* key_strides, const long* value_strides) {
  const long parts = (rows + PART - 1) / PART, tasks = items * heads * parts;
  std::vector<Partial> partials(static_cast<size_t>(tasks));
#pragma omp parallel for schedule(static)
  for (long task = 0; task < tasks; task++) {
    const long place = task / parts, start = task % parts * PART;
    const long item = place / heads, head = place % heads;
    Floats query[GROUP][2][PIECES];
    for (int g = 0; g < GROUP; g++)
      for (int e = 0; e < HEAD_DIM; e++)
        query[g][e % 2][e / 2 / WIDTH][e / 2 % WIDTH] =
            to_float(queries[(place * GROUP + g) * HEAD_DIM + e]) * scale;
    attend(query, keys + item * key_strides[0] + head * key_strides[1] + start * key_strides[2],
           values + item * value_strides[0] + head * value_strides[1] + start * value_strides[2],
           bias ? bias + item * rows + start : nullptr, rows - start < PART ? rows - start : PART,
           key_strides[2], value_strides[2], partials[static_cast<size_t>(task)]);
  }
  for (long place = 0; place < items * heads; place++)
    for (int g = 0; g < GROUP; g++)
      join(&partials[static_cast<size_t>(place * parts)], parts, g,
           found + (place * GROUP + g) * HEAD_DIM, sums + place * GROUP + g);
}

/* SPDX-License-Identifier: Apache-2.0 OR MIT
 * Calls an operator of an object file as a C program would: C99, or C++. Compiled with -DOP=name -DHEADER="name.h" -DH=.. -DKV=..
 * -DD=.. -DELEM=type, and -DHASHED where the object holds the hash of the header.
 * Arguments: LAYOUT LEVEL BATCH N FILE ... (three more each for further shapes). FILE holds q, k, v in tokens-major order; FILE.out
 * receives out and lse. LAYOUT: 0 tokens-major, 1 head-major, 2 padded. LEVEL: -1 as `plan` chose, else the body to take.
 * Memory around the tensors is poisoned and looked at afterwards; `run` in pieces, by two threads, must give the bits of `forward`. */
#include HEADER
#include HEADER
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAT_(a, b, c) a##b##c
#define CAT(a, b, c) CAT_(a, b, c)
#define NAME(x) CAT(attnc_, OP, x)

static void die(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}
static void check(int ok, const char *what) {
    if (!ok) die(what);
}

/* Sets the floating-point control register, yields what it held. */
#if defined(__x86_64__)
typedef uint32_t control_t;
#define STRANGE 0xe040u
static control_t control(control_t x) {
    control_t old;
    __asm__ volatile("stmxcsr %0\n\tldmxcsr %1" : "=m"(old) : "m"(x) : "memory");
    return old;
}
#elif defined(__aarch64__)
typedef uint64_t control_t;
#define STRANGE 0x01c00000u
static control_t control(control_t x) {
    control_t old;
    __asm__ volatile("mrs %0, fpcr\n\tmsr fpcr, %1" : "=&r"(old) : "r"(x) : "memory");
    return old;
}
#endif

typedef struct {
    unsigned char *base;
    ELEM *at; /* element (0,0,0,0) */
    size_t bytes;
    int64_t n, heads, stride[3];
} tensor;

static int64_t B, N;
static int layout;

static tensor make(int64_t heads) {
    tensor t;
    memset(&t, 0, sizeof t);
    t.heads = heads;
    int64_t pad = layout == 2 ? 3 : 0, rows = N + (layout == 2 ? 2 : 0);
    if (layout == 1) {
        t.stride[2] = N * D, t.stride[1] = D, t.stride[0] = heads * N * D;
    } else {
        t.stride[2] = D + pad, t.stride[1] = heads * (D + pad) + 2 * pad, t.stride[0] = t.stride[1] * rows;
    }
    t.n = B * t.stride[0] + 128;
    t.bytes = (size_t)t.n * sizeof(ELEM);
    t.base = (unsigned char *)malloc(t.bytes);
    check(t.base != 0, "no memory");
    memset(t.base, 0xff, t.bytes); /* not a number, in every type */
    t.at = (ELEM *)t.base + 64;
    return t;
}
static ELEM *element(tensor *t, int64_t b, int64_t n, int64_t h) {
    return t->at + b * t->stride[0] + n * t->stride[1] + h * t->stride[2];
}
/* Copies rows between a tensor and tokens-major memory; `poison`: sets them to 0xff instead. */
static void rows(tensor *t, ELEM *flat, int in, int poison) {
    for (int64_t b = 0; b < B; b++)
        for (int64_t n = 0; n < N; n++)
            for (int64_t h = 0; h < t->heads; h++, flat += D) {
                ELEM *x = element(t, b, n, h);
                if (poison) memset(x, 0xff, D * sizeof(ELEM));
                else if (in) memcpy(x, flat, D * sizeof(ELEM));
                else memcpy(flat, x, D * sizeof(ELEM));
            }
}
static void *aligned(size_t bytes) {
    unsigned char *p = (unsigned char *)malloc(bytes + 64);
    check(p != 0, "no memory");
    memset(p, 0xff, bytes + 64);
    return p + (64 - (uintptr_t)p % 64) % 64;
}

/* A range of tasks for a thread. */
typedef struct {
    const NAME(_plan_t) *plan;
    int64_t first, last;
    void *work;
    int code;
} piece;

static void *run_piece(void *x) {
    piece *p = (piece *)x;
    p->code = NAME(_run)(p->plan, p->first, p->last, p->work);
    return 0;
}

static void shape(const char *file, int level) {
    tensor q = make(H), k = make(KV), v = make(KV), out = make(H);
    size_t count[4] = {(size_t)(B * N * H * D), (size_t)(B * N * KV * D), (size_t)(B * N * KV * D), (size_t)(B * N * H * D)};
    FILE *f = fopen(file, "rb");
    check(f != 0, "no input");
    tensor *in[3] = {&q, &k, &v};
    ELEM *flat = (ELEM *)malloc(count[0] * sizeof(ELEM) + 1);
    for (int i = 0; i < 3; i++) {
        check(fread(flat, sizeof(ELEM), count[i], f) == count[i], "short input");
        rows(in[i], flat, 1, 0);
    }
    fclose(f);
    int64_t pitch = N + (layout == 2 ? 5 : 0), lses = B * H * pitch;
    float *lse = (float *)malloc((size_t)lses * 4), *again = (float *)malloc((size_t)lses * 4);
    memset(lse, 0xff, (size_t)lses * 4);
    memset(again, 0xff, (size_t)lses * 4);
    NAME(_args) a = {sizeof(NAME(_args)), ATTNC_ABI, q.at, k.at, v.at, out.at, lse, B, N, {0}, {0}, {0}, {0}, {H * pitch, pitch}};
    memcpy(a.q_stride, q.stride, sizeof q.stride);
    memcpy(a.k_stride, k.stride, sizeof k.stride);
    memcpy(a.v_stride, v.stride, sizeof v.stride);
    memcpy(a.out_stride, out.stride, sizeof out.stride);

    NAME(_plan_t) plan;
    memset(&plan, 0xff, sizeof plan);
    int64_t tasks = NAME(_plan)(&a, &plan);
    check(tasks > 0 && tasks == plan.tasks, "plan");
    if (level >= 0) plan.level = level;
    size_t bytes = NAME(_workspace)(&plan);
    check(bytes > 0, "workspace");
    void *one = aligned(bytes), *two = aligned(bytes);

    /* Refusals. */
    NAME(_plan_t) other;
    NAME(_args) wrong = a;
    wrong.size--;
    check(NAME(_plan)(&wrong, &other) == ATTNC_ERROR_ABI, "size");
    wrong = a, wrong.abi++;
    check(NAME(_plan)(&wrong, &other) == ATTNC_ERROR_ABI, "abi");
    check(NAME(_forward)(&wrong, one) == ATTNC_ERROR_ABI, "forward's code");
    wrong = a, wrong.batch = -1;
    check(NAME(_plan)(&wrong, &other) == ATTNC_ERROR_SHAPE, "negative batch");
    wrong = a, wrong.batch = wrong.seq_len = (int64_t)1 << 32;
    check(NAME(_plan)(&wrong, &other) == ATTNC_ERROR_SHAPE, "too many positions");
    wrong = a, wrong.lse = 0;
    check(NAME(_plan)(&wrong, &other) == ATTNC_ERROR_NULL, "null tensor");
    check(NAME(_plan)(0, &other) == ATTNC_ERROR_NULL && NAME(_plan)(&a, 0) == ATTNC_ERROR_NULL, "null structure");
    wrong = a, wrong.seq_len = 0, wrong.q = 0;
    check(NAME(_plan)(&wrong, &other) == 0 && NAME(_forward)(&wrong, 0) == 0, "nothing to do");
    check(NAME(_run)(0, 0, 1, one) == ATTNC_ERROR_NULL, "null plan");
    check(NAME(_run)(&plan, -1, 1, one) == ATTNC_ERROR_RANGE, "before the first task");
    check(NAME(_run)(&plan, 0, tasks + 1, one) == ATTNC_ERROR_RANGE, "beyond the last task");
    check(NAME(_run)(&plan, 1, 0, one) == ATTNC_ERROR_RANGE, "backwards");
    check(NAME(_run)(&plan, 0, 1, 0) == ATTNC_ERROR_WORKSPACE, "null workspace");
    check(NAME(_run)(&plan, 0, 1, (char *)one + 8) == ATTNC_ERROR_WORKSPACE, "askew workspace");

    /* Pieces, by two threads, each with its workspace; the arguments were copied. */
    memset(&a, 0, sizeof a);
    int64_t middle = tasks / 3;
    piece pieces[2] = {{&plan, middle, tasks, one, 1}, {&plan, 0, middle, two, 1}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) check(pthread_create(threads + i, 0, run_piece, pieces + i) == 0, "thread");
    for (int i = 0; i < 2; i++) check(pthread_join(threads[i], 0) == 0 && pieces[i].code == 0, "run");
    char name[4096];
    snprintf(name, sizeof name, "%s.out", file);
    f = fopen(name, "wb");
    check(f != 0, "no output");
    rows(&out, flat, 0, 0);
    fwrite(flat, sizeof(ELEM), count[3], f);
    for (int64_t i = 0; i < B * H; i++) fwrite(lse + i * pitch, 4, (size_t)N, f);
    check(fclose(f) == 0, "output");

    /* Serially, in one piece: the same bits (of the body that `plan` chose). */
    if (level < 0) {
        ELEM *second = (ELEM *)malloc(count[3] * sizeof(ELEM) + 1);
        rows(&out, flat, 0, 1);
        a = plan.args, a.lse = again;
        /* As a host that flushes subnormals, rounds towards zero and traps on everything: it changes no bit, and stays as it is. */
        control_t host = control(STRANGE);
        int code = NAME(_forward)(&a, two);
        control_t after = control(host);
        check(code == 0, "forward");
        check(after == STRANGE, "the host's floating-point environment has changed");
        rows(&out, second, 0, 0);
        check(memcmp(lse, again, (size_t)lses * 4) == 0, "lse of run and forward differ");
        f = fopen(name, "rb");
        check(f && fread(flat, sizeof(ELEM), count[3], f) == count[3], "output");
        fclose(f);
        check(memcmp(flat, second, count[3] * sizeof(ELEM)) == 0, "out of run and forward differ");
        free(second);
    }
    /* What is no row is as it was. */
    rows(&out, flat, 0, 1);
    for (size_t i = 0; i < out.bytes; i++) check(out.base[i] == 0xff, "written beyond out");
    for (int64_t i = 0; i < lses; i++)
        if (i % pitch >= N) {
            uint32_t x;
            memcpy(&x, lse + i, 4);
            check(x == 0xffffffff, "written beyond lse");
        }
    free(q.base), free(k.base), free(v.base), free(out.base), free(lse), free(again), free(flat);
}

int main(int argc, char **argv) {
#ifdef HASHED
    check(strcmp(NAME(_hash), CAT(ATTNC_, OP, _HASH)) == 0, "the object's hash is not the header's");
#endif
    check(argc >= 6 && (argc - 3) % 3 == 0, "arguments");
    layout = atoi(argv[1]);
    for (int i = 3; i < argc; i += 3) {
        B = atoll(argv[i]), N = atoll(argv[i + 1]);
        shape(argv[i + 2], atoi(argv[2]));
    }
    return 0;
}

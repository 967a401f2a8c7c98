/* SPDX-License-Identifier: Apache-2.0 OR MIT
 * Runs the operator of ../local.attn on two threads: head-major tensors (batch, head, token), one plan, one workspace a thread. */
#include "operators.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 4, HEAD_DIM = 32, TOKENS = 3000, THREADS = 2 };

static void check(int good, const char *what) {
    if (!good) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

/* One thread's share of the tasks. */
typedef struct {
    const attnc_local_plan_t *plan;
    int64_t first, last;
    int code;
} share;

static void *work(void *x) {
    share *s = (share *)x;
    size_t bytes = attnc_local_workspace(s->plan);
    /* malloc aligns to 16: take 63 bytes more and begin at the next multiple of 64. */
    unsigned char *memory = (unsigned char *)malloc(bytes + 63);
    if (memory == NULL) {
        s->code = 1;
        return NULL;
    }
    s->code = attnc_local_run(s->plan, s->first, s->last, memory + (64 - (uintptr_t)memory % 64) % 64);
    free(memory);
    return NULL;
}

int main(void) {
    const size_t count = (size_t)HEADS * TOKENS * HEAD_DIM;
    float *q = (float *)malloc(count * sizeof(float)), *k = (float *)malloc(count * sizeof(float));
    float *v = (float *)malloc(count * sizeof(float)), *out = (float *)malloc(count * sizeof(float));
    float *lse = (float *)malloc((size_t)HEADS * TOKENS * sizeof(float));
    check(q && k && v && out && lse, "no memory");
    /* Equal keys weigh the same: with values of one, every row of out is one. */
    for (size_t i = 0; i < count; i++) {
        q[i] = (float)(i % 7);
        k[i] = 0;
        v[i] = 1;
    }

    check(strcmp(attnc_local_hash, ATTNC_local_HASH) == 0, "header and object are of different operators");
    attnc_local_args args;
    memset(&args, 0, sizeof args);
    args.size = sizeof args;
    args.abi = ATTNC_ABI;
    args.q = q;
    args.k = k;
    args.v = v;
    args.out = out;
    args.lse = lse;
    args.batch = 1;
    args.seq_len = TOKENS;
    /* Batch, token, head. */
    const int64_t stride[3] = {HEADS * TOKENS * HEAD_DIM, HEAD_DIM, TOKENS * HEAD_DIM};
    memcpy(args.q_stride, stride, sizeof stride);
    memcpy(args.k_stride, stride, sizeof stride);
    memcpy(args.v_stride, stride, sizeof stride);
    memcpy(args.out_stride, stride, sizeof stride);
    args.lse_stride[0] = HEADS * TOKENS;
    args.lse_stride[1] = TOKENS;

    attnc_local_plan_t plan;
    int64_t tasks = attnc_local_plan(&args, &plan);
    check(tasks != ATTNC_ERROR_MACHINE, "this machine lacks what the code needs");
    check(tasks > 0, "the arguments were refused");
    share shares[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        shares[i].plan = &plan;
        shares[i].first = tasks * i / THREADS;
        shares[i].last = tasks * (i + 1) / THREADS;
        shares[i].code = 0;
        check(pthread_create(&threads[i], NULL, work, &shares[i]) == 0, "no thread");
    }
    for (int i = 0; i < THREADS; i++) {
        check(pthread_join(threads[i], NULL) == 0, "no thread");
        check(shares[i].code == 0, "a share of the tasks failed");
    }

    for (size_t i = 0; i < count; i++) check(out[i] > 0.99999f && out[i] < 1.00001f, "out is wrong");
    /* Head 0: the first row sees itself once in each of the two branches, row 124 all 125 so far and every fourth of them once more. */
    check(lse[0] > 0.6931f && lse[0] < 0.6932f, "lse is wrong");
    check(lse[124] > 5.0562f && lse[124] < 5.0563f, "lse is wrong");
    printf("%d tokens in %lld tasks on %d threads: right\n", TOKENS, (long long)tasks, THREADS);
    free(q), free(k), free(v), free(out), free(lse);
    return 0;
}

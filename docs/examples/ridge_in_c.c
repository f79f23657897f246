/* Distilled ridge regression inside a loop of C: many problems, one workspace, no Python. See ridge_in_c.py. */

#include <stdint.h>
#include <stdlib.h>

/* fastdistill.kernels.ridge_students: 0 accurate, 1 ill-conditioned, 2 singular. All arrays are C-contiguous doubles. */
typedef int32_t (*ridge_fit)(const double *X, int64_t n, int64_t p, const double *y, const double *weight,
                             int64_t n_weights, double lam, const double *xi, int64_t k, int32_t fit_intercept,
                             double *coef, double *intercept, double *work);

/* Students 0..k of every problem: X (problems, n, p), y (problems, n) -> coef (problems, k+1, p), intercept
 * (problems, k+1). Returns the worst status, or -1 without memory. */
int32_t fit_problems(ridge_fit fit, int64_t problems, int64_t n, int64_t p, const double *X, const double *y,
                     double lam, const double *xi, int64_t k, double *coef, double *intercept)
{
    double *work = malloc((size_t)(2 * (p + 1) + p * (2 * p + 1)) * sizeof(double));
    int32_t worst = 0;
    if (work == NULL)
        return -1;
    for (int64_t i = 0; i < problems; i++) {
        int32_t status = fit(X + i * n * p, n, p, y + i * n, NULL, 0, lam, xi, k, 1, coef + i * (k + 1) * p,
                             intercept + i * (k + 1), work);
        if (status > worst)
            worst = status;
    }
    free(work);
    return worst;
}

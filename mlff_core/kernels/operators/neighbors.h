/* Neighbours with a skin, as mlff_core/model/scripted_neighbors.py searches them. */
#ifndef MLFF_NEIGHBORS_H
#define MLFF_NEIGHBORS_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace mlff_operators {

/* All directed pairs closer than cutoff and skin. They are kept until an atom has moved by half the skin, or the cell has
 * changed. A search wraps the atoms into the cell, adds their images within reach of the cell, sorts all points into cubic
 * bins as wide as the reach, and checks 27 bins for each atom. Positions and cell in Å; rows of the cell are its vectors. */
class VerletList {
  public:
    std::vector<int64_t> centers, neighbors;
    std::vector<double> offsets; /* (n_edges, 3), Å: what the neighbour's image is away from it; empty where not periodic */

    /* Returns the first atom that is not at a finite position, or −1. */
    int64_t update(const double *x, int64_t n, const double *cell, bool periodic, double cutoff, double skin) {
        const double reach_now = cutoff + skin;
        bool stale = int64_t(reference.size()) != 3 * n || periodic != was_periodic || reach_now != reach ||
                     (periodic && memcmp(cell, reference_cell, sizeof reference_cell) != 0);
        double most = 0;
        for (int64_t i = 0; i < n; i++) {
            const double *at = x + 3 * i;
            if (!std::isfinite(at[0] + at[1] + at[2])) return i;
            if (stale) continue;
            const double *before = reference.data() + 3 * i;
            const double dx = at[0] - before[0], dy = at[1] - before[1], dz = at[2] - before[2];
            most = std::max(most, dx * dx + dy * dy + dz * dz);
        }
        if (!stale && most <= 0.25 * skin * skin) return -1;
        reach = reach_now;
        was_periodic = periodic;
        reference.clear(); /* so that a search which fails, for want of memory, is made again */
        search(x, n, cell);
        reference.assign(x, x + 3 * n);
        memcpy(reference_cell, cell, sizeof reference_cell);
        return -1;
    }

  private:
    struct Point {
        int64_t bin, owner;
        double at[3];
        int32_t image[3];
    };

    std::vector<double> reference;
    double reference_cell[9] = {};
    double reach = 0;
    bool was_periodic = false;

    static void times_cell(const double *f, const double *cell, double *to) {
        for (int c = 0; c < 3; c++) to[c] = f[0] * cell[c] + f[1] * cell[3 + c] + f[2] * cell[6 + c];
    }

    static void invert(const double *m, double *to) {
        for (int r = 0; r < 3; r++)
            for (int c = 0; c < 3; c++) {
                const int a = (c + 1) % 3, b = (c + 2) % 3, d = (r + 1) % 3, e = (r + 2) % 3;
                to[3 * r + c] = m[3 * a + d] * m[3 * b + e] - m[3 * a + e] * m[3 * b + d];
            }
        const double volume = m[0] * to[0] + m[1] * to[3] + m[2] * to[6];
        for (int k = 0; k < 9; k++) to[k] /= volume;
    }

    void search(const double *x, int64_t n, const double *cell) {
        centers.clear();
        neighbors.clear();
        offsets.clear();
        if (n == 0) return;
        std::vector<double> home(x, x + 3 * n);
        std::vector<double> wraps(was_periodic ? size_t(3 * n) : 0);
        std::vector<Point> points;
        if (was_periodic) {
            double inverse[9], margin[3];
            int32_t most[3];
            invert(cell, inverse);
            for (int c = 0; c < 3; c++) {
                /* The length of a column of the inverse is one over the distance between opposite faces. */
                margin[c] = reach * std::sqrt(inverse[c] * inverse[c] + inverse[3 + c] * inverse[3 + c] + inverse[6 + c] * inverse[6 + c]) + 1e-9;
                if (!(margin[c] < 1000))
                    throw std::runtime_error("the cell is too flat: the cutoff and the skin are more than 1000 times the distance of two "
                                             "of its faces; check the cell, or whether the structure is periodic");
                most[c] = int32_t(std::ceil(margin[c]));
            }
            for (int64_t i = 0; i < n; i++) {
                double f[3];
                times_cell(x + 3 * i, inverse, f);
                for (int c = 0; c < 3; c++) {
                    const double whole = std::floor(f[c]);
                    wraps[size_t(3 * i + c)] = whole;
                    f[c] -= whole;
                }
                times_cell(f, cell, home.data() + 3 * i);
                Point p = {0, i, {0, 0, 0}, {0, 0, 0}};
                for (p.image[0] = -most[0]; p.image[0] <= most[0]; p.image[0]++)
                    for (p.image[1] = -most[1]; p.image[1] <= most[1]; p.image[1]++)
                        for (p.image[2] = -most[2]; p.image[2] <= most[2]; p.image[2]++) {
                            double g[3];
                            bool inside = true;
                            for (int c = 0; c < 3; c++) {
                                g[c] = f[c] + p.image[c];
                                inside = inside && g[c] >= -margin[c] && g[c] <= 1 + margin[c];
                            }
                            if (!inside) continue;
                            times_cell(g, cell, p.at);
                            points.push_back(p);
                        }
            }
        } else {
            points.reserve(size_t(n));
            for (int64_t i = 0; i < n; i++) points.push_back({0, i, {x[3 * i], x[3 * i + 1], x[3 * i + 2]}, {0, 0, 0}});
        }
        double low[3], extent = 0, high[3];
        for (int c = 0; c < 3; c++) low[c] = high[c] = points[0].at[c];
        for (const Point &p : points)
            for (int c = 0; c < 3; c++) {
                low[c] = std::min(low[c], p.at[c]);
                high[c] = std::max(high[c], p.at[c]);
            }
        for (int c = 0; c < 3; c++) extent = std::max(extent, high[c] - low[c]);
        /* At most 10⁵ bins along an axis, so that the number of a bin fits 64 bits however far away an atom is. */
        const double width = std::max(reach, extent / 1e5);
        int64_t n_bins[3];
        for (int c = 0; c < 3; c++) n_bins[c] = int64_t((high[c] - low[c]) / width) + 4;
        const int64_t stride[3] = {n_bins[1] * n_bins[2], n_bins[2], 1};
        const auto bin_of = [&](const double *at) {
            int64_t bin = 0;
            /* Offset 2, not 1: rounding may put an atom one bin below its own image. */
            for (int c = 0; c < 3; c++) bin += (int64_t(std::floor((at[c] - low[c]) / width)) + 2) * stride[c];
            return bin;
        };
        for (Point &p : points) p.bin = bin_of(p.at);
        std::stable_sort(points.begin(), points.end(), [](const Point &a, const Point &b) { return a.bin < b.bin; });
        const auto first_at = [&](int64_t bin) {
            return std::lower_bound(points.begin(), points.end(), bin, [](const Point &p, int64_t b) { return p.bin < b; });
        };
        for (int64_t i = 0; i < n; i++) {
            const double *at = home.data() + 3 * i;
            const int64_t middle = bin_of(at);
            for (int dx = -1; dx <= 1; dx++)
                for (int dy = -1; dy <= 1; dy++) {
                    /* Three adjacent bins along z have three consecutive numbers. */
                    const int64_t row = middle + dx * stride[0] + dy * stride[1];
                    for (auto p = first_at(row - 1); p != points.end() && p->bin <= row + 1; ++p) {
                        const double a = p->at[0] - at[0], b = p->at[1] - at[1], c = p->at[2] - at[2];
                        if (!(a * a + b * b + c * c < reach * reach)) continue;
                        if (p->owner == i && !p->image[0] && !p->image[1] && !p->image[2]) continue;
                        centers.push_back(i);
                        neighbors.push_back(p->owner);
                        if (!was_periodic) continue;
                        double steps[3], offset[3];
                        for (int k = 0; k < 3; k++)
                            steps[k] = p->image[k] - wraps[size_t(3 * p->owner + k)] + wraps[size_t(3 * i + k)];
                        times_cell(steps, cell, offset);
                        offsets.insert(offsets.end(), offset, offset + 3);
                    }
                }
        }
    }
};

}  // namespace mlff_operators
#endif

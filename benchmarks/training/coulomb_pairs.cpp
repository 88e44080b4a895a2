// A prototype of the pair sum of a Coulomb term, for its time only: potentials and forces at fixed charges over directed
// edges sorted by centre, in float32, the kernel k (erf(r/4 Å)/r), force-shifted at the cutoff, from a table in r².
// Each pair is met from both ends, so that nothing is scattered and the loop over the edges of an atom is vectorized.
#include <cstdint>

extern "C" void coulomb_pairs(int64_t n_atoms, const int32_t* first, const int32_t* neighbors, const float* x,
                              const float* y, const float* z, const float* shift_x, const float* shift_y,
                              const float* shift_z, const float* charges, float cutoff2, float inverse_step,
                              const float* energy_table, const float* force_table, float* potentials, float* forces) {
  for (int64_t i = 0; i < n_atoms; ++i) {
    float phi = 0, fx = 0, fy = 0, fz = 0;
#pragma omp simd reduction(+ : phi, fx, fy, fz)
    for (int32_t e = first[i]; e < first[i + 1]; ++e) {
      const int32_t j = neighbors[e];
      const float dx = x[j] + shift_x[e] - x[i], dy = y[j] + shift_y[e] - y[i], dz = z[j] + shift_z[e] - z[i];
      const float r2 = dx * dx + dy * dy + dz * dz;
      const float inside = r2 < cutoff2 ? charges[j] : 0.0f;
      const float at = (r2 < cutoff2 ? r2 : cutoff2) * inverse_step;
      const int32_t k = static_cast<int32_t>(at);
      const float part = at - static_cast<float>(k);
      const float energy = energy_table[k] + part * (energy_table[k + 1] - energy_table[k]);
      const float force = inside * (force_table[k] + part * (force_table[k + 1] - force_table[k]));
      phi += inside * energy;
      fx += force * dx;
      fy += force * dy;
      fz += force * dz;
    }
    potentials[i] = phi;
    forces[3 * i] = charges[i] * fx;
    forces[3 * i + 1] = charges[i] * fy;
    forces[3 * i + 2] = charges[i] * fz;
  }
}

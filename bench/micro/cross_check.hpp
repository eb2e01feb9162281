// Cross-check: what the stage driver counts for a stage inside the whole pipeline, beside what the stage
// costs alone by the clock around it, on the same bursts. The two should agree where a stage is neither
// helped nor hurt by its neighbours; what the pipeline takes above the sum of its stages is the driver's own.
#pragma once

namespace podwire::engine::bench {

// Prints a table, or one JSON object a line.
void cross_check(bool json);

}  // namespace podwire::engine::bench

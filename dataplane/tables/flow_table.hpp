// FlowTable: the connections of stateful domains. One table for all workers: a connection is an entry of two
// lines of 64 bytes, one for each direction with that direction's key, so that a packet touches its own
// direction's line only, and two workers that serve the two directions share none. The keys are independent
// of each other: with address translation the reply is not the request turned round.
//
// Finding: a hash leads to a slot (tables/flow_slots.hpp), which tells where the entry may be. Readers take
// no lock: a line has a sequence number which is odd while the line is written and another one after, and
// whoever read the line checks that it is still the same. So entries are used again at once, without waiting
// for readers.
// Writing: insertion and removal lock the two keys' pairs of slots (spin, a few dozen instructions); a change
// of state locks the entry. Nobody waits for a pair's lock with an entry's in hand, nor for a third one.
//
// Bounded: `capacity` connections. When all entries are in use, one that is half open or closing
// (is_replaceable) makes room: a hand goes round over the entries and takes the first of them that was not
// seen since it was marked; one that was is marked anew and spared, at most kChances of them an insertion. So
// a new connection has as many insertions' time to be answered as there are replaceable ones. An insertion
// looks at kWordsLooked * 8 entries at most and is refused if it finds none. A pair whose sixteen slots are
// taken (one key in 10^5, with all entries in use) gives up the replaceable connection of its own that was
// seen longest ago, or refuses. What is established is never evicted.
//
// Connections are counted by the port whose packet began them, exactly, so that one port's can be limited:
// insertion past the limit is refused before anything is evicted for it. What it costs is an addition that
// workers share, at insertion and removal only. Packets that rules deny begin nothing and are in no count:
// each costs its look-up and the rules and saves the way out, and what bounds them is that workers take one
// burst of each port in turn.
//
// Memory, touched only where it is used: 128 bytes an entry, 56 to 112 of slots (64 with a power of two), 3
// of marks and owners.
//
// Called by workers, and by the main thread where it says so.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <span>
#include <utility>

#include "dataplane/tables/conntrack_state.hpp"
#include "dataplane/tables/flow_key.hpp"
#include "dataplane/tables/flow_slots.hpp"
#include "dataplane/tables/fragment_table.hpp"

namespace podwire::engine {

// One direction of a connection that was found. Valid while its sequence stands.
struct FlowRef {
  std::uint32_t line = 0;  // twice the entry's index and the direction; 0: none
  std::uint32_t sequence = 0;

  explicit operator bool() const noexcept { return line != 0; }
  Direction direction() const noexcept { return static_cast<Direction>(line & 1); }
};

// Where packets of one direction go, as remembered.
struct FlowDecision {
  std::uint32_t adjacency = 0;   // 0: look it up for every packet
  std::uint32_t generation = 0;  // of that slot when it was looked up
  bool routed = false;
  bool translated = false;  // the connection's keys are not each other's reverse; kept whatever is decided
};

// One direction of a connection as it was at one moment.
struct FlowView {
  FlowKey key;
  FlowPhase phase;
  FlowDecision decision;
  std::uint32_t rules_generation = 0;
  std::uint32_t last_seen = 0;
};

// Whose packet begins a connection, and how many it may have begun at a time. Port 0: nobody's, not counted.
struct FlowOwner {
  PortId port;
  std::uint32_t limit = ~std::uint32_t{0};
};

class FlowTable {
 public:
  // `capacity` is the most connections there can be, 1 to 2^26. `seed` keys the hash, so that nobody outside
  // can choose connections that share a pair.
  FlowTable(std::uint32_t capacity, std::uint64_t seed);
  ~FlowTable();
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  std::uint64_t hash(const FlowKey& key) const noexcept {
    auto h = multiply(key.words[0] ^ seed_, key.words[1] ^ kOdd1 ^ seed_);
    if (!key.is_v4()) {
      h = multiply(h ^ key.words[2], key.words[3] ^ kOdd1);
      h = multiply(h ^ key.words[4], seed_ ^ kOdd2);
    }
    // One multiplication alone leaves the ports of one client so uneven, with some seeds, that pairs
    // overflow.
    return multiply(h, kOdd1);
  }

  // At most kBurst keys at once: all hashed and their slots fetched, then the entries, then compared.
  static constexpr std::size_t kBurst = 64;
  void find_burst(std::span<const FlowKey> keys, std::span<FlowRef> found) const noexcept;
  FlowRef find(const FlowKey& key) const noexcept { return find_hashed(key, hash(key)); }

  // The same for one IPv4 key of a burst, in steps: prefetch() for all keys, candidate() for all, then
  // find_candidate() one by one, with pairs() as it was at the first. Its third and fourth are the words of a
  // key with is_v4().
  std::uint64_t hash_v4(std::uint64_t head, std::uint64_t addresses) const noexcept {
    return multiply(multiply(head ^ seed_, addresses ^ kOdd1 ^ seed_), kOdd1);
  }
  std::uint32_t pairs() const noexcept { return slots_.pairs(); }
  void prefetch(std::uint64_t hash, std::uint32_t pairs) const noexcept {
    __builtin_prefetch(&slots_.line(hash, 0, pairs));
  }
  // The line that may be the key's, on its way into the cache; 0: none in the key's home.
  std::uint32_t candidate(std::uint64_t hash, std::uint32_t pairs) const noexcept {
    const auto line = FlowSlots::first_match(slots_.line(hash, 0, pairs), hash);
    __builtin_prefetch(&lines_[line]);
    return line;
  }
  // Reads what it finds, too.
  FlowRef find_candidate(std::uint32_t candidate, std::uint64_t hash, std::uint64_t head,
                         std::uint64_t addresses, FlowView& view) const noexcept {
    const auto& line = lines_[candidate];
    const auto sequence = line.sequence.load(kAcquire);
    const auto different = (line.key[0].load(kAcquire) ^ head) | (line.key[1].load(kAcquire) ^ addresses);
    if (different == 0) [[likely]] {
      const FlowRef ref{candidate, sequence};
      if (read(ref, view)) return ref;
    }
    return find_again(hash, head, addresses, view);
  }

  // False: the connection has gone since. `key` is left out: the caller has it.
  bool read(FlowRef ref, FlowView& view) const noexcept;
  // The same with the key of `direction`, which need not be the one that `ref` found.
  bool read_key(FlowRef ref, Direction direction, FlowKey& key) const noexcept;

  // The key of the direction that `ref` did not find. False: the connection has gone since.
  bool read_other_key(FlowRef ref, FlowKey& key) const noexcept;
  // The words of that key, of a connection over IPv4.
  [[gnu::always_inline]] bool read_other_v4(FlowRef ref, std::uint64_t& head,
                                            std::uint64_t& addresses) const noexcept {
    const auto& own = lines_[ref.line];
    head = own.key[kOtherAt].load(kAcquire);
    addresses = own.key[kOtherAt + 1].load(kAcquire);
    return own.sequence.load(kRelaxed) == ref.sequence && (ref.sequence & 1) == 0 && head != 0;
  }

  // Notes that a packet was seen now. Writes only when the second has changed.
  [[gnu::always_inline]] void touch(FlowRef ref, std::uint32_t now_s) noexcept {
    auto& seen = lines_[ref.line].last_seen;
    if (seen.load(std::memory_order_relaxed) != now_s) seen.store(now_s, std::memory_order_relaxed);
  }

  // Changes the state by `next`, a function from FlowPhase to FlowStep, and returns what it said of the state
  // as it is now (another worker may have changed it since it was read). kBegin when the connection has gone.
  template <class Next>
  FlowStep update(FlowRef ref, Next next) noexcept {
    if (!lock_entry(ref)) return {FlowStep::Outcome::kBegin, {}};
    const auto before = FlowPhase::unpack(lines_[ref.line].phase.load(std::memory_order_relaxed));
    const FlowStep step = next(before);
    if (step.outcome == FlowStep::Outcome::kPass && !(step.phase == before)) store_phase(ref, step.phase);
    unlock_entry(ref);
    return step;
  }
  // Of the direction that `ref` found.
  void set_decision(FlowRef ref, const FlowDecision& decision) noexcept;
  // Of both: the connection is allowed by the rules of this generation.
  void set_rules_generation(FlowRef ref, std::uint32_t generation) noexcept;

  struct Insertion {
    enum class Outcome : std::uint8_t { kNew, kThere, kFull, kTaken, kLimit };
    Outcome outcome = Outcome::kFull;
    FlowRef ref;                // of the key of the original direction; only with kNew and kThere
    std::uint32_t evicted = 0;  // connections that made room
  };
  // `reply` may be any key; equal keys make a connection of one direction. kThere: there is a connection with
  // `original` as one of its keys. kTaken: `reply` is another connection's. kLimit: the owner has begun as
  // many as it may.
  Insertion insert(const FlowKey& original, const FlowKey& reply, FlowPhase phase,
                   std::uint32_t rules_generation, std::uint32_t now_s, FlowOwner owner = {}) noexcept;
  // Before insertions, so that their cache misses overlap: for each what its keys lead to, and once a burst
  // what would have to make room for `count` of them.
  void prefetch_insertion(const FlowKey& original, const FlowKey& reply) const noexcept {
    for (const auto one : {hash(original), hash(reply)}) __builtin_prefetch(&slots_.line(one, 0));
  }
  void prefetch_evictions(std::size_t count) const noexcept;
  // False: it has gone already.
  bool remove(FlowRef ref) noexcept;
  // It stays as kCut: no way is remembered, and nobody may remember one. False: it has gone already.
  bool cut(FlowRef ref) noexcept;
  // What was cut may go on; it is forgotten soon unless it does.
  bool restore(FlowRef ref) noexcept;

  // Connections there are that this port's packets began.
  std::uint32_t begun_by(PortId port) const noexcept {
    return owned_[port.value() % kMaxOwners].flows.load(std::memory_order_relaxed);
  }
  // What one pod may have begun where nothing else is said: more than one client can have with one server
  // (ports run out at 64,512), and so few that it takes sixteen pods to fill the table, or four a small one.
  std::uint32_t default_limit() const noexcept { return std::clamp(capacity_ / 4, 256u, 65536u); }
  PortId owner_of(FlowRef ref) const noexcept {
    return PortId(owners_[ref.line / 2].load(std::memory_order_relaxed));
  }

  // Main thread. Looks at the next entries, at most `budget`, and forgets those that were not seen for their
  // state's timeout and those of which `unwanted(key, owner)` says so. Returns how many. Workers are not held
  // up.
  template <class Unwanted>
  std::size_t age(std::uint32_t now_s, std::uint32_t budget, Unwanted unwanted);
  // Main thread. Asks about the connections in the next `budget` entries from `first` (1: all of them) on,
  // and does what judge(original, reply, state, owner) says. Workers are not held up. A connection that
  // one of them is just noting may be left out.
  enum class Judgement : std::uint8_t { kKeep, kLookUp, kCut, kRestore, kRemove };  // kLookUp: its way anew
  struct Review {
    std::uint32_t next = 0;  // where to go on; 0: that was the last
    std::size_t cut = 0, restored = 0, removed = 0;
  };
  template <class Judge>
  Review review(std::uint32_t first, std::uint32_t budget, Judge judge);

  // Main thread. Connections by state, as age() found them on its last way through all.
  const std::array<std::uint64_t, kFlowStateCount>& by_state() const { return by_state_; }

  // Main thread. The connections with index above `after`, both directions: visit(index, original, reply)
  // until it returns false.
  template <class Visit>
  void for_each(std::uint32_t after, Visit visit) const {
    scan(after, ~std::uint32_t{0}, visit);
  }
  // The same of at most `budget` entries; the index of the last one looked at, 0 at the end of the table.
  template <class Visit>
  std::uint32_t scan(std::uint32_t after, std::uint32_t budget, Visit visit) const;
  // Main thread. Both directions of the connection with this index; false: there is none.
  bool read_entry(std::uint32_t entry, FlowView& original, FlowView& reply) const noexcept {
    FlowView* const views[2] = {&original, &reply};
    for (std::uint32_t line = entry * 2; line <= entry * 2 + 1; ++line) {
      const FlowRef ref{line, lines_[line].sequence.load(kAcquire)};
      auto& view = *views[line & 1];
      if (!read(ref, view) || !read_key(ref, ref.direction(), view.key) ||
          view.phase.state == FlowState::kNone)
        return false;
    }
    return true;
  }

  std::uint32_t capacity() const { return capacity_; }
  std::size_t bytes_reserved() const;
  FragmentTable& fragments() noexcept { return fragments_; }

 private:
  static constexpr auto kRelaxed = std::memory_order_relaxed;
  static constexpr auto kAcquire = std::memory_order_acquire;
  static constexpr auto kRelease = std::memory_order_release;
  static constexpr std::size_t kMaxOwners = 4096;
  static constexpr unsigned kChances = 4, kWordsLooked = 128;
  static constexpr std::uint64_t kRoutedBit = std::uint64_t{1} << 31, kTranslatedBit = std::uint64_t{1} << 30;
  static constexpr std::uint64_t kOdd1 = 0x9e3779b97f4a7c15, kOdd2 = 0xd6e8feb86659fd93;

  struct alignas(64) Line {
    std::atomic<std::uint32_t> sequence;
    std::atomic<std::uint32_t> rules_generation;
    std::atomic<std::uint64_t> decision;  // generation << 32 | routed << 31 | translated << 30 | adjacency
    std::atomic<std::uint32_t> last_seen;
    std::atomic<std::uint8_t> phase;
    std::atomic<std::uint8_t> locked;  // of the entry; in the original direction's line
    std::uint16_t spare;
    std::atomic<std::uint64_t> key[5];  // an IPv4 key leaves room for the other direction's, from kOtherAt on
  };
  static_assert(sizeof(Line) == 64);
  static constexpr std::size_t kOtherAt = 2;

  struct alignas(64) Owned {
    std::atomic<std::uint32_t> flows;
  };

  class PairLocks;

  static std::uint64_t multiply(std::uint64_t a, std::uint64_t b) noexcept {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
  static std::uint64_t pack(const FlowDecision& decision) noexcept;
  static FlowDecision unpack(std::uint64_t word) noexcept;
  FlowRef find_again(std::uint64_t hash, std::uint64_t head, std::uint64_t addresses,
                     FlowView& view) const noexcept;
  FlowRef find_hashed(const FlowKey& key, std::uint64_t hash) const noexcept;
  FlowRef find_in(const FlowSlots::Line& slots, const FlowKey& key, std::uint64_t hash) const noexcept;
  FlowRef compare(std::uint32_t line, const FlowKey& key) const noexcept;
  FlowKey key_at(std::uint32_t line) const noexcept;
  std::uint32_t last_seen_of(std::uint32_t entry) const noexcept;

  bool lock_entry(FlowRef ref) noexcept;
  void unlock_entry(FlowRef ref) noexcept;
  void store_phase(FlowRef ref, FlowPhase phase) noexcept;

  // Eight a word: whether the entry may be evicted, and the second (mod 128) when it was seen last as of
  // then.
  static std::uint64_t mark_of(FlowState state, std::uint32_t seen_s) noexcept {
    return is_replaceable(state) ? 0x80 | (seen_s & 0x7f) : 0;
  }
  std::uint64_t mark_at(std::uint32_t entry) const noexcept {
    return marks_[entry / 8].load(std::memory_order_relaxed) >> entry % 8 * 8 & 0xff;
  }
  // Under the entry's lock.
  void set_mark(std::uint32_t entry, std::uint64_t mark) noexcept {
    const auto change = mark_at(entry) ^ mark;
    if (change != 0) marks_[entry / 8].fetch_xor(change << entry % 8 * 8, std::memory_order_relaxed);
  }

  // Evicts the one least recently seen among the replaceable ones of the pair; false: there is none.
  bool evict_from(std::uint64_t hash, const PairLocks& held) noexcept;
  bool evict_entry(std::uint32_t entry, const PairLocks& held) noexcept;
  bool make_slots(const std::uint64_t (&hashes)[2], bool both, const PairLocks& held,
                  std::uint32_t& evicted) noexcept;
  // Takes the hand to the next entry that may be evicted, and evicts it; its index, 0 for none.
  std::uint32_t evict_next() noexcept;
  bool spare(std::uint32_t entry) noexcept;
  bool unlink(FlowRef ref, bool replaceable_only) noexcept;
  void write_line(std::uint32_t line, const FlowKey& key, const FlowKey& other, FlowPhase phase,
                  std::uint32_t rules_generation, std::uint32_t now_s, bool translated = false) noexcept;
  void forget_lines(std::uint32_t entry) noexcept;
  // Under all three locks.
  void forget(std::uint32_t entry, const std::uint64_t (&hashes)[2]) noexcept;
  bool count_in(const FlowOwner& owner) noexcept;
  void count_out(PortId port) noexcept;

  std::uint32_t allocate() noexcept;
  void release(std::uint32_t entry) noexcept;

  const std::uint32_t capacity_;
  const std::uint64_t seed_;
  FlowSlots slots_;
  Line* lines_;  // two an entry; entry 0 is not used
  std::atomic<std::uint64_t>* marks_;
  std::atomic<std::uint16_t>* owners_;  // PortId of every entry
  Owned* owned_;                        // by PortId
  FragmentTable fragments_;

  alignas(64) std::atomic<std::uint32_t> used_{1};  // entries that were ever in use, and entry 0
  std::atomic<std::uint64_t> free_{0};              // changes << 32 | first free entry
  std::atomic<std::uint32_t> hand_{1};  // the entry to look at first; workers overwrite each other's

  std::uint32_t cursor_ = 1;  // of age()
  std::array<std::uint64_t, kFlowStateCount> counting_{}, by_state_{};
};

}  // namespace podwire::engine

#include "dataplane/tables/flow_table_inline.hpp"

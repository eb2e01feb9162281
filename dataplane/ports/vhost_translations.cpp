#include "dataplane/ports/vhost_translations.hpp"

#include <algorithm>

namespace podwire::engine {
namespace {

constexpr std::size_t kAddress = 0, kBytes = 8, kPermissions = 24, kType = 25;  // in the payload

}  // namespace

VhostMessage VhostTranslations::question(std::uint64_t address, std::uint8_t permissions) {
  VhostMessage message;
  message.header = {kVhostBackendIotlb, VhostHeader::kVersion, 32};
  message.set(kAddress, address);
  message.set(kPermissions, permissions);
  message.set(kType, VhostTranslation::kMiss);
  return message;
}

void VhostTranslations::asked(const VhostMessage& question, Clock::time_point now) {
  ++misses_;
  if (open_.size() >= kMostOpen) return;
  open_[{question.at<std::uint64_t>(kAddress), question.at<std::uint8_t>(kPermissions)}] = now;
}

void VhostTranslations::told(const VhostMessage& message) {
  if (message.translation() != VhostTranslation::kUpdate) {
    ++invalidations_;
    return;
  }
  ++updates_;
  // As the library takes it: an answer is one that permits all that was asked for.
  const auto first = message.at<std::uint64_t>(kAddress);
  const auto last = first + (message.at<std::uint64_t>(kBytes) - 1);
  const auto permitted = message.at<std::uint8_t>(kPermissions);
  for (auto it = open_.lower_bound({first, 0}); it != open_.end() && it->first.first <= last;) {
    const bool answered = (it->first.second & ~permitted) == 0;
    it = answered ? open_.erase(it) : std::next(it);
  }
}

std::vector<VhostMessage> VhostTranslations::to_repeat(Clock::time_point now) {
  std::vector<std::pair<Clock::time_point, Question>> due;
  for (const auto& [question, put] : open_) {
    if (now - put >= kAskAgain) due.emplace_back(put, question);
  }
  const auto count = std::min(due.size(), kMostAtOnce);
  std::partial_sort(due.begin(), due.begin() + static_cast<std::ptrdiff_t>(count), due.end());
  std::vector<VhostMessage> messages;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [address, permissions] = due[i].second;
    open_[due[i].second] = now;
    messages.push_back(question(address, permissions));
  }
  repeats_ += count;
  return messages;
}

Json VhostTranslations::describe() const {
  return {{"misses", misses_},
          {"repeats", repeats_},
          {"unanswered", open_.size()},
          {"updates", updates_},
          {"invalidations", invalidations_}};
}

}  // namespace podwire::engine

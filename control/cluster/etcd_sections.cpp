#include "control/cluster/etcd_sections.hpp"

#include <utility>

namespace podwire::control {

EtcdSections::Section* EtcdSections::of(const std::string& key) {
  Section* found = nullptr;
  for (auto& section : sections_) {
    const bool narrower = found == nullptr || section.start.size() > found->start.size();
    if (narrower && key.starts_with(section.start)) found = &section;
  }
  return found;
}

void EtcdSections::begin_listing() {
  for (auto& section : sections_) {
    section.items.clear();
    section.by->begin_listing();
  }
}

void EtcdSections::take_out(std::vector<EtcdItem>& page) {
  std::erase_if(page, [this](EtcdItem& item) {
    auto* const section = of(item.key);
    if (section != nullptr) section->items.push_back(std::move(item));
    return section != nullptr;
  });
}

std::vector<EtcdEvent> EtcdSections::take_out(const std::vector<EtcdEvent>& events) {
  std::vector<EtcdEvent> rest;
  for (const auto& event : events) {
    auto* const section = of(event.item.key);
    (section == nullptr ? rest : section->events).push_back(event);
  }
  return rest;
}

void EtcdSections::tell_parts() {
  for (auto& section : sections_) {
    if (section.by->takes_parts() && !section.items.empty())
      section.by->list_part(std::exchange(section.items, {}));
  }
}

Result<void> EtcdSections::tell_listed() {
  for (auto& section : sections_) PODWIRE_CHECK(section.by->listed(std::exchange(section.items, {})));
  return {};
}

void EtcdSections::tell_changed() {
  for (auto& section : sections_) {
    if (!section.events.empty()) section.by->changed(std::exchange(section.events, {}));
  }
}

}  // namespace podwire::control
